from __future__ import annotations

import json
import logging
import ssl
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from m5_assets.alerts import Incident, Message, announce, channels_of
from m5_assets.alerts.channels import EmailChannel, SnsChannel, WebhookChannel
from m5_assets.settings import AlertSettings
from m5_assets_tests.support.alert_servers import certificate, http_server, mail_server


def _incident(key: str = "run:1", title: str = "weekly_forecast failed, week 2016-05-16") -> Incident:
    return Incident(
        key,
        title,
        "features: the job ended with code 1",
        "the dashboards keep the forecast they show",
        "press Re-execute",
        "http://127.0.0.1:3000/runs/1",
        "2016-05-16",
    )


class Recorder:
    """A channel that keeps what it is sent, and can be cut off."""

    def __init__(self, name: str = "recorder") -> None:
        self.name, self.sent, self.reachable = name, list[Message](), True

    def send(self, message: Message) -> None:
        if not self.reachable:
            raise ConnectionRefusedError("nobody listens")
        self.sent.append(message)


def test_an_incident_is_one_message_and_its_end_another() -> None:
    channel, state = Recorder(), None
    for found in ([_incident()], [_incident()], [_incident()], [], []):
        state = announce(found, state, [channel])
    assert [(len(m.begun), len(m.over)) for m in channel.sent] == [(1, 0), (0, 1)]
    assert channel.sent[0].subject == "[m5] weekly_forecast failed, week 2016-05-16"
    assert channel.sent[1].subject == "[m5] resolved: weekly_forecast failed, week 2016-05-16"


def test_many_incidents_of_one_look_are_one_message() -> None:
    channel = Recorder()
    announce([_incident(f"check:{i}", f"check {i} failed") for i in range(50)], None, [channel])
    (message,) = channel.sent
    assert message.subject == "[m5] check 0 failed (and 49 more)"
    assert "and 38 more incidents" in message.body


def test_a_channel_that_was_cut_off_is_told_later_and_the_others_at_once(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Recorder("good"), Recorder("bad")
    bad.reachable = False
    with caplog.at_level(logging.ERROR):
        state = announce([_incident("a")], None, [good, bad])
        state = announce([_incident("a"), _incident("b")], state, [good, bad])
    assert "bad cannot be reached" in caplog.text
    bad.reachable = True
    announce([_incident("b")], state, [good, bad])
    assert [[i.key for i in m.begun] for m in good.sent] == [["a"], ["b"], []]
    # What began and ended meanwhile is not worth a message any more.
    assert [([i.key for i in m.begun], [i.key for i in m.over]) for m in bad.sent] == [(["b"], [])]


@given(st.lists(st.sets(st.sampled_from("abcd")), max_size=12), st.lists(st.booleans(), max_size=12))
def test_what_a_channel_was_told_adds_up_to_what_holds(looks: list[set[str]], reachable: list[bool]) -> None:
    channel, state, known = Recorder(), None, set[str]()
    for found, up in zip(looks, [*reachable, *[True] * 12], strict=False):
        channel.reachable = up
        before = len(channel.sent)
        state = announce([_incident(key) for key in sorted(found)], state, [channel])
        for message in channel.sent[before:]:
            begun, over = {i.key for i in message.begun}, {i.key for i in message.over}
            assert not begun & known
            assert over <= known
            known = (known | begun) - over
        assert not up or known == found


def test_the_message_says_what_where_and_what_to_do() -> None:
    message = Message([_incident()], [_incident("run:0", "weekly_forecast failed, week 2016-05-09")])
    for words in (
        "code 1",
        "2016-05-16",
        "keep the forecast",
        "Re-execute",
        "http://127.0.0.1:3000/runs/1",
        "Resolved",
    ):
        assert words in message.body


def test_a_subject_is_one_line_of_100_characters() -> None:
    subject = Message([_incident(title="x" * 300)], []).subject
    assert len(subject) == 100


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_arrives_encrypted(tmp_path: Path, security: str) -> None:
    pem = certificate(tmp_path)
    with mail_server(pem, implicit_tls=security == "tls") as server:
        settings = AlertSettings(
            email_to="ops@example.org, planner@example.org",
            smtp_host="127.0.0.1",
            smtp_port=server.port,
            smtp_security=security,
            smtp_ca_file=str(pem),
            smtp_user="m5",
            smtp_password="hunter2",
        )
        EmailChannel(settings).send(Message([_incident()], []))
    (mail,) = server.mails
    assert server.encrypted == [True]
    assert server.logins == 1
    assert mail["Subject"] == "[m5] weekly_forecast failed, week 2016-05-16"
    assert mail["To"] == "ops@example.org, planner@example.org"
    assert "press Re-execute" in mail.get_content()
    assert "hunter2" not in repr(settings)


def test_a_mail_server_that_cannot_prove_who_it_is_gets_nothing(tmp_path: Path) -> None:
    with mail_server(certificate(tmp_path)) as server:
        settings = AlertSettings(email_to="ops@example.org", smtp_host="127.0.0.1", smtp_port=server.port)
        with pytest.raises(ssl.SSLCertVerificationError):
            EmailChannel(settings).send(Message([_incident()], []))
    assert server.mails == []


def test_a_webhook_is_posted_and_a_refusal_tried_again() -> None:
    with http_server([503, 200]) as (url, bodies):
        channel = WebhookChannel(url)
        state = announce([_incident()], None, [channel])
        state = announce([_incident()], state, [channel])
        announce([_incident()], state, [channel])
    assert len(bodies) == 2
    posted = json.loads(bodies[1])
    assert posted["begun"][0]["week"] == "2016-05-16"
    assert "press Re-execute" in posted["text"]
    assert url not in repr(channel)


def test_a_topic_is_published_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        sns, sqs = boto3.client("sns", region_name="eu-west-1"), boto3.client("sqs", region_name="eu-west-1")
        topic = sns.create_topic(Name="m5")["TopicArn"]
        queue = sqs.create_queue(QueueName="m5")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        SnsChannel(topic).send(Message([_incident(title="Prüfung failed")], []))
        (received,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(received["Body"])
    assert body["Subject"] == "[m5] Pr?fung failed"
    assert "press Re-execute" in body["Message"]


def test_the_channels_are_those_that_are_set() -> None:
    assert [c.name for c in channels_of(AlertSettings())] == ["log"]
    every = AlertSettings(
        email_to="a@b.c",
        smtp_host="mail",
        sns_topic_arn="arn:aws:sns:eu-west-1:1:m5",
        webhook_url="https://hooks",
    )
    assert [c.name for c in channels_of(every)] == ["log", "email", "sns", "webhook"]

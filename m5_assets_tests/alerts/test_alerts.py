from __future__ import annotations

import io
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from m5_assets.alerts import AppriseChannel, Channel, DeliveryError, Incident, Message, announce, channels_of
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
    """A channel that keeps its messages and can be made unreachable."""

    def __init__(self, name: str = "recorder") -> None:
        self.name, self.sent, self.reachable = name, list[Message](), True

    def send(self, message: Message) -> None:
        if not self.reachable:
            raise DeliveryError("nobody listens")
        self.sent.append(message)


def test_one_message_when_an_incident_begins_and_one_when_it_ends() -> None:
    channel, state = Recorder(), None
    for found in ([_incident()], [_incident()], [_incident()], [], []):
        state = announce(found, state, [channel])
    assert [(len(m.begun), len(m.over)) for m in channel.sent] == [(1, 0), (0, 1)]
    assert channel.sent[0].subject == "[m5] weekly_forecast failed, week 2016-05-16"
    assert channel.sent[1].subject == "[m5] resolved: weekly_forecast failed, week 2016-05-16"


def test_incidents_found_together_share_a_message() -> None:
    channel = Recorder()
    announce([_incident(f"check:{i}", f"check {i} failed") for i in range(50)], None, [channel])
    (message,) = channel.sent
    assert message.subject == "[m5] check 0 failed (and 49 more)"
    assert "and 38 more incidents" in message.body


def test_an_unreachable_channel_gets_its_message_later_and_the_others_at_once(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Recorder("good"), Recorder("bad")
    bad.reachable = False
    with caplog.at_level(logging.ERROR):
        state = announce([_incident("a")], None, [good, bad])
        state = announce([_incident("a"), _incident("b")], state, [good, bad])
    assert "bad cannot be reached" in caplog.text
    bad.reachable = True
    announce([_incident("b")], state, [good, bad])
    assert [[i.key for i in m.begun] for m in good.sent] == [["a"], ["b"], []]
    # Incidents that began and ended in between need no message.
    assert [([i.key for i in m.begun], [i.key for i in m.over]) for m in bad.sent] == [(["b"], [])]


@given(st.lists(st.sets(st.sampled_from("abcd")), max_size=12), st.lists(st.booleans(), max_size=12))
def test_a_channels_messages_add_up_to_the_current_incidents(looks: list[set[str]], reachable: list[bool]) -> None:
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


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """Collect the output of the root logger; pytest's capture would also show loggers that do not propagate."""
    root, text = logging.getLogger(), io.StringIO()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


def _channels(*urls: str) -> list[Channel]:
    """Return the channels of these URLs, without the log."""
    return channels_of(AlertSettings(urls=urls))[1:]


@pytest.mark.parametrize("security", ["starttls", "ssl"])
def test_a_mail_arrives_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str) -> None:
    pem = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with mail_server(pem, implicit_tls=security == "ssl") as server:
        [channel] = _channels(
            f"mailtos://m5:hunter2@127.0.0.1:{server.port}?smtp=127.0.0.1&mode={security}"
            "&from=m5@example.org&to=ops@example.org,planner@example.org"
        )
        channel.send(Message([_incident()], []))
    assert server.encrypted == [True, True]
    assert server.logins == 1
    assert {mail["To"] for mail in server.mails} == {"ops@example.org", "planner@example.org"}
    for mail in server.mails:
        assert mail["Subject"] == "[m5] weekly_forecast failed, week 2016-05-16"
        assert "m5@example.org" in mail["From"]
        assert mail.get_content_type() == "text/plain"
        assert mail.get_content().replace("\r\n", "\n").rstrip() == Message([_incident()], []).body
    assert "hunter2" not in repr(channel)


def test_a_mail_server_with_an_untrusted_certificate_gets_nothing(tmp_path: Path) -> None:
    with mail_server(certificate(tmp_path)) as server:
        [channel] = _channels(
            f"mailtos://127.0.0.1:{server.port}?smtp=127.0.0.1&from=m5@example.org&to=ops@example.org"
        )
        with pytest.raises(DeliveryError, match="Connection error"):
            channel.send(Message([_incident()], []))
    assert server.mails == []


def test_a_webhook_is_posted_and_a_refusal_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    with http_server([503, 200]) as (url, bodies):
        channels = _channels(url.replace("http://", "json://"))
        state = announce([_incident()], None, channels)
        state = announce([_incident()], state, channels)
        announce([_incident()], state, channels)
    assert len(bodies) == 2
    posted = json.loads(bodies[1])
    assert posted["title"] == "[m5] weekly_forecast failed, week 2016-05-16"
    assert "press Re-execute" in posted["message"]
    assert posted["type"] == "failure"
    assert "json cannot be reached" in caplog.text
    assert "error=503" in caplog.text


def test_a_server_that_never_answers_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        [channel] = _channels(f"json://127.0.0.1:{silent.getsockname()[1]}/hook?rto=0.3")
        with pytest.raises(DeliveryError, match="error"):
            channel.send(Message([_incident()], []))


def test_a_failing_channel_does_not_affect_the_others(caplog: pytest.LogCaptureFixture) -> None:
    with http_server([200]) as (url, bodies):
        channels = _channels("json://127.0.0.1:9/hook", "nonsense://token", url.replace("http://", "json://"))
        state = announce([_incident()], None, channels)
        announce([_incident()], state, channels)
    assert len(bodies) == 1
    assert caplog.text.count("json cannot be reached") == 2
    assert caplog.text.count("nonsense cannot be reached") == 2


@pytest.mark.parametrize(
    "url",
    [
        "json://someone:hunter2@127.0.0.1:9/services/s3cr3t-path?+Authorization=b34rer-token",
        "mailtos://someone:hunter2@127.0.0.1:9?smtp=127.0.0.1&from=a@example.org&to=b@example.org",
        "slack://hunter2/hunter2/hunter2",  # apprise's own error message contains the token
        "nonsense://hunter2",
        "mailto://someone:hunter2@example.org?smtp=mail.example.org",
        "snstopic://hunter2",
    ],
)
def test_no_log_and_no_state_holds_a_secret(
    url: str, everything_logged: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    channels = _channels(url)
    state = announce([_incident()], None, channels)
    shown = everything_logged.getvalue() + state + repr(channels) + "".join(capfd.readouterr())
    assert "cannot be reached" in shown
    assert not [secret for secret in ("hunter2", "s3cr3t", "b34rer") if secret in shown]


def test_a_successful_delivery_logs_no_secret_either(
    everything_logged: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    with http_server([200]) as (url, bodies):
        announce([_incident()], None, _channels(url.replace("http://", "json://me:hunter2@") + "/s3cr3t"))
    logging.getLogger("any").debug("debug lines are seen")
    assert len(bodies) == 1
    shown = everything_logged.getvalue() + "".join(capfd.readouterr())
    assert "debug lines are seen" in shown
    assert not [secret for secret in ("hunter2", "s3cr3t") if secret in shown]


@pytest.mark.parametrize(
    "url",
    [
        *("json://example.org/hook", "mailto://user:hunter2@example.org", "ntfy://example.org/a"),
        *("json://localhost.evil.com/hook", "json://localhost@evil.com/hook"),
    ],
)
def test_nothing_is_sent_unencrypted_to_another_machine(url: str) -> None:
    [channel] = _channels(url)
    with pytest.raises(DeliveryError, match=f"{channel.name}:// would send unencrypted: use {channel.name}s://"):
        channel.send(Message([_incident()], []))


@pytest.mark.parametrize("url", ["rsyslog://example.org", "rsyslog://localhost.evil.com"])
def test_a_service_without_encryption_is_for_this_machine_alone(url: str) -> None:
    [channel] = _channels(url)
    with pytest.raises(DeliveryError, match="knows no encryption"):
        channel.send(Message([_incident()], []))
    [local] = _channels("rsyslog://localhost")
    assert isinstance(local, AppriseChannel)
    assert local.service().host == "localhost"


def test_a_topic_is_published_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        sns, sqs = boto3.client("sns", region_name="eu-west-1"), boto3.client("sqs", region_name="eu-west-1")
        topic = sns.create_topic(Name="M5-alerts_of.prod".replace(".", "_"))["TopicArn"]
        queue = sqs.create_queue(QueueName="m5")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        [channel] = _channels(f"snstopic://{topic}")
        channel.send(Message([_incident(title="Prüfung failed")], []))
        (received,) = sqs.receive_message(QueueUrl=queue)["Messages"]
        [missing] = _channels(f"snstopic://{topic}x")
        with pytest.raises(DeliveryError, match="NotFound"):
            missing.send(Message([_incident()], []))
    body = json.loads(received["Body"])
    assert body["Subject"] == "[m5] Pr?fung failed"
    assert body["Message"] == Message([_incident(title="Prüfung failed")], []).body


def test_a_long_message_is_split_for_services_with_a_limit() -> None:
    [whole, chosen] = _channels("discord://1234/token", "discord://1234/token?overflow=truncate")
    assert isinstance(whole, AppriseChannel)
    assert isinstance(chosen, AppriseChannel)
    assert whole.service().overflow_mode.value == "split"
    assert chosen.service().overflow_mode.value == "truncate"


def test_the_channels_are_the_log_and_the_configured_urls() -> None:
    assert [c.name for c in channels_of(AlertSettings())] == ["log"]
    every = AlertSettings(
        urls=["mailtos://a:b@mail.org", "snstopic://arn:aws:sns:eu-west-1:1:m5", "MAILTOS://c:d@mail.org"]
    )
    assert [c.name for c in channels_of(every)] == ["log", "mailtos", "snstopic", "mailtos-2"]

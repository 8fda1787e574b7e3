"""The HTTP server of a batch transform: /ping, /execution-parameters and /invocations on port 8080.

Source: the SageMaker developer guide, "Use Your Own Inference Code with Batch Transform". A body is one whole Parquet
object, so the job's batch strategy must be SingleRecord and its split type None.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable

import anyio.to_thread
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PARQUET = "application/x-parquet"
MAX_PAYLOAD_MB = 100

log = logging.getLogger("m5.serving")


class BadBody(ValueError):
    """The body of a request cannot be used for predictions; answered with 400."""


def application(predict: Callable[[bytes], pa.Table]) -> Starlette:
    """Return the server's application.

    Args:
        predict: function from a request's body to the answer's table; raises BadBody for an unusable body.
    """

    async def ping(_: Request) -> Response:
        return Response(status_code=200)

    async def execution_parameters(_: Request) -> Response:
        parameters = {"MaxConcurrentTransforms": 1, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": MAX_PAYLOAD_MB}
        return JSONResponse(parameters)

    async def invocations(request: Request) -> Response:
        body = await request.body()
        try:
            table = await anyio.to_thread.run_sync(predict, body)
        except BadBody as problem:
            log.warning("rejected a body of %d bytes: %s", len(body), problem)
            return Response(str(problem), status_code=400, media_type="text/plain")
        log.info("answered %d bytes with %d rows", len(body), table.num_rows)
        return Response(to_parquet(table), media_type=PARQUET)

    routes = [
        Route("/ping", ping),
        Route("/execution-parameters", execution_parameters),
        Route("/invocations", invocations, methods=["POST"]),
    ]
    return Starlette(routes=routes)


def serve(predict: Callable[[bytes], pa.Table]) -> None:
    """Serve until SIGTERM.

    The server listens on loopback, so that a local process cannot be reached from outside. Images set
    `M5_SERVE_HOST=0.0.0.0`, because SageMaker calls a container from outside.
    """
    host = os.environ.get("M5_SERVE_HOST", "127.0.0.1")
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    uvicorn.run(application(predict), host=host, port=port, log_level="warning", workers=1)


def to_parquet(table: pa.Table) -> bytes:
    """Return the table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()

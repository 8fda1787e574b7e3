"""Serve the stylesheet, the scripts and Plotly; the security headers that keep everything else out.

URLs contain a version, so browsers can cache the files forever. Plotly's script comes from the installed package, not
from a CDN.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PLOTLY = "plotly.js"

# Plotly needs inline styles. Inline scripts stay forbidden, so text from the database can never run as one.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_FOR_EVER = "public, max-age=31536000, immutable"


def asset(request: Request) -> Response:
    """Return a file, always gzipped: every browser that can draw the charts supports it."""
    name, version = request.path_params["name"], request.path_params["version"]
    if versions().get(name) != version:
        raise HTTPException(404)
    return Response(
        _compressed(name),
        media_type=_TYPES[Path(name).suffix],
        headers={"Content-Encoding": "gzip", "Cache-Control": _FOR_EVER},
    )


def url(name: str) -> str:
    """Return the versioned URL of a file."""
    return f"/static/{versions()[name]}/{name}"


def prepare() -> None:
    """Read and compress every file, so the first page does not wait for it."""
    for name in versions():
        _compressed(name)


@lru_cache(maxsize=1)
def versions() -> MappingProxyType[str, str]:
    """Return the version of each file: a hash of its content, or Plotly's version number."""
    from plotly.offline import get_plotlyjs_version  # takes a third of a second, too long for `m5 --help`

    own = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in sorted(_FOLDER.iterdir())}
    return MappingProxyType(own | {_PLOTLY: get_plotlyjs_version()})


@lru_cache(maxsize=8)
def _compressed(name: str) -> bytes:
    from plotly.offline import get_plotlyjs

    content = get_plotlyjs().encode() if name == _PLOTLY else (_FOLDER / name).read_bytes()
    return gzip.compress(content, 6, mtime=0)

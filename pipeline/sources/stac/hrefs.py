"""Hrefs of assets: signed for reading, unsigned for every record and message."""

import importlib
import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pipeline.errors import ParamsError

#: Query parameters of signatures: Azure SAS, AWS (v2, v4, CloudFront), Google, and tokens in general.
_KEYS = (
    r"(?:sv|se|sr|sp|sig|st|spr|sip|ss|srt|sks|skv|ske|skt|skoid|sktid|sdd|saoid|suoid|scid|ses"
    r"|x-amz-.+|x-goog-.+|awsaccesskeyid|googleaccessid|signature|expires|key-pair-id|policy"
    r"|token|access_token|api_?key|auth|authorization|subscription-key)")
_SIGNATURE = re.compile(rf"^{_KEYS}$", re.IGNORECASE)
_IN_TEXT = re.compile(rf"([?&]{_KEYS}=)[^&\s'\"<>)]*", re.IGNORECASE)
_USER_IN_TEXT = re.compile(r"(://)[^/@\s'\"]+@")


def unsigned(href: str) -> str:
    """The href without user name, password, fragment and the query parameters of a signature; others stay in order."""
    parts = urlsplit(href)
    if not parts.scheme or not parts.netloc:
        return href
    kept = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _SIGNATURE.match(k)]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(kept), ""))


def scrubbed(message: str) -> str:
    """A message without the user names, passwords and signatures of any hrefs in it."""
    return _USER_IN_TEXT.sub(r"\1", _IN_TEXT.sub(r"\1...", message))


def signer(name: str) -> Callable[[str], str]:
    """The function "package.module:function" that signs an href; without a name, one that changes nothing.

    Raises:
        ParamsError: there is no such module or function.
    """
    if not name:
        return _plain
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ParamsError(f"params.yaml: acquire.stac.sign must be an importable package.module:function: got {name!r} "
                          f"({error}); install the package or correct the name") from error
    if not callable(found):
        raise ParamsError(f"params.yaml: acquire.stac.sign must name a function: {name!r} is none")

    def sign(href: str) -> str:
        signed = found(href)
        if not isinstance(signed, str):
            raise ParamsError(f"params.yaml: acquire.stac.sign must name a function that takes an href and returns it "
                              f"signed: {name} returned {type(signed).__name__}")
        return signed

    return sign


def _plain(href: str) -> str:
    return href


def without_signature(message: str, href: str, signed: str) -> str:
    """A message of GDAL's on one line in which the signed href is replaced by the unsigned one."""
    text = " ".join(message.replace(signed, unsigned(href)).split())
    query = urlsplit(signed).query
    return scrubbed(text.replace(query, "...") if query and query != urlsplit(unsigned(href)).query else text)

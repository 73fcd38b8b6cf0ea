"""The certificates that a user has us trust: whether there are any where the environment says so."""

from collections.abc import Mapping

VARIABLE = "SSL_CERT_FILE"
"""The system's TLS library reads the file that it names, and says nothing where that is none."""


def untrusted(environ: Mapping[str, str]) -> list[str]:
    """Tell, in the words of a fault, that there are no certificates where they are said to be."""
    path = environ.get(VARIABLE, "")
    if not path:
        return []
    import ssl  # noqa: PLC0415 - where certificates are named, and figshare is going to be asked

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return [f"environment: {VARIABLE}: {path}: holds no certificates in PEM format"]
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        return [f"environment: {VARIABLE}: {path}: cannot be read: {reason}"]
    return []

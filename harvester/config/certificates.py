"""Trusted certificates: checks the file that the environment variable names."""

from collections.abc import Mapping

VARIABLE = "SSL_CERT_FILE"
"""OpenSSL reads the file that it names, and silently ignores an invalid one."""


def untrusted(environ: Mapping[str, str]) -> list[str]:
    """Return a fault if the named file contains no certificates."""
    path = environ.get(VARIABLE, "")
    if not path:
        return []
    import ssl  # noqa: PLC0415 - only if the variable is set

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return [f"environment: {VARIABLE}: {path}: holds no certificates in PEM format"]
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        return [f"environment: {VARIABLE}: {path}: cannot be read: {reason}"]
    return []

"""Django's settings: no database, no session but a signed cookie; uploads stay in memory."""

import secrets

from fusion_ln.serve.options import ServeOptions

_BEHIND_TLS: dict[str, object] = {
    "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
    "SECURE_SSL_REDIRECT": True,
    "SECURE_REDIRECT_EXEMPT": [r"^healthz$", r"^readyz$", r"^metrics$"],
    "SECURE_HSTS_SECONDS": 31_536_000,
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
    "SECURE_HSTS_PRELOAD": True,
}


def django_settings(options: ServeOptions) -> dict[str, object]:
    """Make Django's settings from the server's options."""
    settings: dict[str, object] = {
        "DEBUG": False,
        "SECRET_KEY": secrets.token_urlsafe(48),  # nothing that is signed outlives the process
        "ALLOWED_HOSTS": options.allowed_hosts,
        "INSTALLED_APPS": ["fusion_ln.serve.apps.ServeConfig"],
        "ROOT_URLCONF": "fusion_ln.serve.urls",
        "MIDDLEWARE": [
            "fusion_ln.serve.gate.middleware.observe",
            "fusion_ln.serve.gate.middleware.harden",
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
            "fusion_ln.serve.gate.middleware.admit",
            "fusion_ln.serve.gate.middleware.answer_head",
        ],
        "USE_TZ": True,
        "FILE_UPLOAD_HANDLERS": ["django.core.files.uploadhandler.MemoryFileUploadHandler"],
        "FILE_UPLOAD_MAX_MEMORY_SIZE": 2
        * options.max_bytes,  # above what the server admits: nothing is written to a disk
        "DATA_UPLOAD_MAX_MEMORY_SIZE": 1_000_000,  # of fields that are no files
        "DATA_UPLOAD_MAX_NUMBER_FIELDS": 100,
        "DATA_UPLOAD_MAX_NUMBER_FILES": 20,
        "CSRF_FAILURE_VIEW": "fusion_ln.serve.gate.problems.forged",
        "CSRF_COOKIE_NAME": "fusionln_csrf",
        "CSRF_COOKIE_HTTPONLY": True,  # the page carries its mark in itself
        "CSRF_COOKIE_SAMESITE": "Strict",
        "CSRF_COOKIE_SECURE": options.behind_tls,
        "CSRF_COOKIE_AGE": None,  # until the browser ends
        "X_FRAME_OPTIONS": "DENY",
        "SECURE_CONTENT_TYPE_NOSNIFF": True,
        "SECURE_REFERRER_POLICY": "same-origin",
        "SECURE_CROSS_ORIGIN_OPENER_POLICY": "same-origin",
        "LOGGING_CONFIG": None,  # see `fusion_ln.serve.gate.logs`
    }
    return settings | _BEHIND_TLS if options.behind_tls else settings

"""Addresses of machines, as they are given to options."""

from ipaddress import ip_address

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, which nothing between can reach."""
    if host in LOOPBACK:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""The bound of leases that settings and the store share."""

#: Maximum `lease_ttl_s`, in seconds. A lease that ends later was created before the store's clock was set back.
MAX_LEASE_TTL_S = 300

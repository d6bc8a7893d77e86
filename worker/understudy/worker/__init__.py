"""What runs simulations: claim, step, commit; and what keeps the fleet honest: leases and the sweeper."""

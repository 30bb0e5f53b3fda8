"""Where data lie: on this machine, or at an address. `address` makes a path of what a user names."""

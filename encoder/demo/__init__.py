"""`make demo`: the whole product on one machine, without internet."""

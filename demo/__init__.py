"""`make demo`: the whole product on one machine, without internet, with the features of a real transformer."""

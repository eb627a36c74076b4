"""`lapis-pairs`: makes and checks paired data sets."""

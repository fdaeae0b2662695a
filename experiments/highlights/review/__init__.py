"""A local web page on which a person goes through the chosen highlights of a recording."""

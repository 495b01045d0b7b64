"""Tables with a row a sample, of whatever shape people have them in."""

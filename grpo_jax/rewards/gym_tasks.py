OFFERED={}
RAISING=frozenset()
REFUSED={}

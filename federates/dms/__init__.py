"""Study applications of a distribution management system: pure functions on what a control centre knows, one file each.

    ufls.py   under-frequency load shedding: what each stage would shed now, and the swing of the frequency with the stages in it
    uvls.py   under-voltage load shedding: which stages a voltage would start, and the voltage that shedding leaves
    sls.py    special schemes: what each row of a logic table has armed, against what it needs
    cea.py    coordination of emergency actions: which actions, in which order, meet a deficit in time at the least cost

A study has no side effects and never touches a running feeder; `federates.tblm` calls them and puts their answers together.
"""

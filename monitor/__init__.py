"""Reading run directories, after a run or while one goes on, whichever runner made them and however it ended.

    results.py    load(run_dir): signals, quality, events, TBLMs, documents and timing as pandas frames
    report.py     write(run_dir): one self-contained HTML page        page.py, summary.py, figures/: its parts
    compare.py    compare(a, b): are two runs the same, bit for bit, and if not where do they first differ

In a notebook:

    from monitor.results import load
    run = load("runs/quickstart-20300101T000000Z-abc123")
    run.signals                             # names, federate.port
    run.signal("grid.f_hz").plot()          # a frame: seconds down, ids across
    run.quality("scada.head_p_w")           # the quality bits of the same values
    run.tblms("15")[-1].curve("fast")       # the last TBLM of bus 15

Nothing here runs a simulation, and no simulation imports this: what a run leaves on disk is the only interface between the two.
"""

"""The P-Q region of a bus: everywhere that DER, storage, requests, capacitors and taps can bring it within the network's limits.

What is known of such regions: they are convex to numerical accuracy on radial feeders, sampling set-points at random misses half of
them, and linear programs on squared voltages and currents stop short of the boundary. So here

    resources, table   what each resource may do: its P-Q set, when it delivers, quantiles of what it has
    limits             what the network allows
    space              the feeder as a function of set-points: full solves, and linear models around them
    cone               second-order cone programs over a linear model; the few active limits only
    region             directions where the polygon is known worst; every corner verified by a full solve
    devices            taps and capacitors: settings worth a region of their own
    compute            regions by bus voltage, delivery class and quantile
    reach              set-points for a point inside
    polygon            plane geometry

A linear model is taken at the nearest corner that is known, where it is good, with the curvature of head power that the currents of
the resources make: without it programs jump between set-points of nearly equal head power, over ways on which the model is wrong.
What a step misses by is taken into the same model again, so that most corners need one factorisation and two or three full solves.
"""

"""Distribution feeders in OpenDSS.

`FeederModel` describes a feeder: a master file and what we change about it. `Feeder` is one running in an OpenDSS context of its
own. Between the transmission bus and the file's own source bus stands a substation transformer with a load tap changer, fed by
three single-phase sources, so that voltage and angle may differ by phase.

What OpenDSS does not do for us, or does in a way that surprises, is settled here once:

* A file is read as data (`script`): only statements that describe a circuit reach the engine. It cannot start a shell or an
  editor, write a file, load code or solve a year.
* Loads have no frequency response in OpenDSS, and changing only the solution's frequency yields 0 W with "converged". The engine
  therefore always runs at nominal frequency; frequency enters through the powers given to `Feeder.set_loads` and `set_der`,
  computed by `federates.grid.load` and `federates.grid.der`.
* The band in which a load keeps its voltage model is set from the `FeederModel` and is part of its hash.
* Controls act in three ways: frozen (`solve`), with their delays (`step_controls`), run to rest (`settle`).

Files: `model` the description, `script` reading .dss, `engine` the only importer of opendssdirect, `build` from statements to
circuit, `topology` distances, `feeder` the class, `network` its equations for studies of sensitivity.
"""

from .feeder import Feeder
from .model import DerSite, FeederError, FeederModel, FeederState, Ltc, Substation

__all__ = ["DerSite", "Feeder", "FeederError", "FeederModel", "FeederState", "Ltc", "Substation"]

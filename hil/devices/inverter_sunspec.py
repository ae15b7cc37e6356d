"""The registers of the stand-in inverter: SunSpec models 1 and 701 to 714 around `inverter_model.Inverter`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hil.devices.inverter_model import Inverter, Reversion, checked_curve
from protocols.modbus import ExceptionCode, MemoryBank, ModbusException, Point, SunSpecServer, Value

_ON, _THROTTLED, _STANDBY, _RUNNING = 1, 4, 7, 3
_COMPLETED, _FAILED = 1, 2
_VOLT_VAR = ((92.0, 100.0), (98.0, 0.0), (102.0, 0.0), (108.0, -100.0))
_VOLT_WATT = ((106.0, 100.0), (110.0, 20.0))
_CURVES = 3
_VAR_MAX_PCT = 1  # DeptRef of a volt-var curve
_VARS, _VAR_PCT = 4, 1  # VarSetMod
_UNLIMITED = 0


class InverterSunSpec:
    """`bank` is what a server serves. What masters write acts at once; `step` moves the inverter and shows what it does."""

    def __init__(self, inverter: Inverter, unit: int, now_s: Callable[[], float]) -> None:
        self._inverter, self._now_s = inverter, now_s
        self._server = SunSpecServer(self._models(), unit=unit, on_write=self._written)
        self._timers = {
            name: Reversion(undo)
            for name, undo in (
                ("704.WMaxLimPct", self._undo_limit),
                ("704.VarSet", self._undo_var),
                ("705.", lambda: self._undo_curve(705)),
                ("706.", lambda: self._undo_curve(706)),
            )
        }
        self.step()

    @property
    def bank(self) -> MemoryBank:
        return self._server.bank

    @property
    def points(self) -> dict[str, Point]:
        """Every point by its name, `705.Crv[1].ActPt`."""
        return {name: point for layout in self._server.layouts.values() for name, point in layout.points.items()}

    # -- what it serves

    def _models(self) -> dict[int, dict[str, Any]]:
        rating = self._inverter.rating
        factor = max(0, math.ceil(math.log10(max(rating.s_max_va, 1.0) / 30_000.0)))
        self._factors = {"W_SF": factor, "VA_SF": factor, "Var_SF": factor}
        capacity = {
            **{f"{name}{end}": value for end in ("Rtg", "") for name, value in (
                ("WMax", rating.p_max_w), ("VAMax", rating.s_max_va), ("VarMaxInj", rating.q_max_var),
                ("VarMaxAbs", rating.q_max_var), ("VNom", rating.v_ln_v),
            )},
            **self._factors, "V_SF": -1, "NorOpCatRtg": 1, "AbnOpCatRtg": 1,
        }  # fmt: skip
        control = {
            "PFWInjEna": 0, "WMaxLimPctEna": 0, "WMaxLimPct": 100, "WMaxLimPctRvrt": 100, "WMaxLimPctEnaRvrt": 0,
            "WMaxLimPctRvrtTms": 0, "WMaxLimPctRvrtRem": 0, "VarSetEna": 0, "VarSetMod": _VAR_PCT, "VarSet": 0, "VarSetPct": 0,
            "VarSetEnaRvrt": 0, "VarSetRvrtTms": 0, "VarSetRvrtRem": 0, "PFWInj": {"PF": 1.0, "Ext": 0},
            "WMaxLimPct_SF": -1, "VarSet_SF": factor, "VarSetPct_SF": -1, "PF_SF": -3,
        }  # fmt: skip
        trip = {"Ena": 0, "AdptCrvReq": 1, "AdptCrvRslt": _COMPLETED, "V_SF": -1, "Tms_SF": -2}
        f_trip = {"Ena": 0, "AdptCrvReq": 1, "AdptCrvRslt": _COMPLETED, "Hz_SF": -2, "Tms_SF": -2}
        region = {"ActPt": 2, "Pt": [{"V": 50.0, "Tms": 2.0}, {"V": 88.0, "Tms": 2.0}]}
        f_region = {"ActPt": 2, "Pt": [{"Hz": 56.5, "Tms": 0.16}, {"Hz": 58.5, "Tms": 300.0}]}
        return {
            1: {"Mn": "gridtandem", "Md": "stand-in inverter", "Vr": "1", "SN": "00001", "DA": 1},
            701: {"ACType": 2, "V_SF": -1, "Hz_SF": -3, "A_SF": -1, "PF_SF": -3, "TotWh_SF": 0, **self._factors},
            702: capacity,
            703: {"ES": 1, "ESVHi": 105, "ESVLo": 91.7, "ESHzHi": 60.1, "ESHzLo": 59.5, "ESDlyTms": 300, "V_SF": -1, "Hz_SF": -2},
            704: control,
            705: self._curve_model("Var", _VOLT_VAR, {"DeptRef": _VAR_MAX_PCT, "Pri": 1, "RspTms": 5.0}),
            706: self._curve_model("W", _VOLT_WATT, {"DeptRef": 0, "RspTms": 10.0}),
            707: {**trip, "Crv": [{"ReadOnly": 1, "MustTrip": region, "MayTrip": region, "MomCess": region}]},
            708: {**trip, "Crv": [{"ReadOnly": 1, "MustTrip": region, "MayTrip": region, "MomCess": region}]},
            709: {**f_trip, "Crv": [{"ReadOnly": 1, "MustTrip": f_region, "MayTrip": f_region, "MomCess": f_region}]},
            710: {**f_trip, "Crv": [{"ReadOnly": 1, "MustTrip": f_region, "MayTrip": f_region, "MomCess": f_region}]},
            711: {"Ena": 0, "AdptCtlReq": 1, "AdptCtlRslt": _COMPLETED, "Db_SF": -2, "K_SF": -2, "RspTms_SF": -1,
                  "Ctl": [{"DbOf": 0.04, "DbUf": 0.04, "KOf": 0.05, "KUf": 0.05, "RspTms": 5.0, "ReadOnly": 1}]},
            712: {"Ena": 0, "AdptCrvReq": 1, "AdptCrvRslt": _COMPLETED, "W_SF": -1, "DeptRef_SF": -1,
                  "Crv": [{"ActPt": 2, "DeptRef": 1, "Pri": 1, "ReadOnly": 1,
                           "Pt": [{"W": 50, "Var": 0}, {"W": 100, "Var": -44}]}]},
            713: {"WHRtg": 0, "WHAvail": 0, "SoC": 0, "WH_SF": 0, "Pct_SF": -1},
            714: {"NPrt": 1, "DCW": 0, "DCW_SF": factor, "Prt": [{"PrtTyp": 0, "ID": 1, "IDStr": "array 1", "DCW": 0}]},
        }  # fmt: skip

    def _curve_model(self, ordinate: str, curve: tuple[tuple[float, float], ...], fields: dict[str, Any]) -> dict[str, Any]:
        points = [{"V": v, ordinate: y} for v, y in curve] + [{"V": 0, ordinate: 0}] * (4 - len(curve))
        curves = [{"ActPt": len(curve), **fields, "ReadOnly": int(i == 0), "Pt": points} for i in range(_CURVES)]
        head = {"Ena": 0, "AdptCrvReq": 1, "AdptCrvRslt": _COMPLETED, "RvrtTms": 0, "RvrtRem": 0, "RvrtCrv": 1}
        return {**head, "V_SF": -1, "DeptRef_SF": -1, "RspTms_SF": -1, "Crv": curves}

    # -- what masters do

    def _written(self, values: dict[str, Value | None]) -> None:
        """Takes a write; raises ModbusException for one that cannot be, which undoes it."""
        for name in values:
            if name.startswith(("705.Crv[0]", "706.Crv[0]")) and not name.endswith("].ReadOnly"):
                raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE, f"{name}: curve 1 is the one in use, and read-only")
            model, _, point = name.partition(".")
            if point == "AdptCrvReq" and model in ("705", "706"):
                self._adopt(int(model), values[name])
        self._apply()
        for prefix, timer in self._timers.items():
            if any(name.startswith(prefix) for name in values):
                timer.start(self._now_s(), self._number(f"{prefix}RvrtTms") if self._is_on(f"{prefix}Ena") else _UNLIMITED)

    def _adopt(self, model: int, wanted: Value | None) -> None:
        """Copies the curve asked for into curve 1, or says that it failed."""
        ordinate = "Var" if model == 705 else "W"
        number = wanted if isinstance(wanted, int) and 1 <= wanted <= _CURVES else 0
        try:
            if not number:
                raise ValueError(f"there is no curve {wanted}")
            self._curve(model, number - 1, ordinate)
        except ValueError:
            self._server.update(model, {"AdptCrvRslt": _FAILED})
            return
        names = [name for name in self._server.layouts[model].points if name.startswith(f"{model}.Crv[{number - 1}].")]
        copied = {name.replace(f"Crv[{number - 1}]", "Crv[0]"): self._server.value(name) for name in names}
        copied.pop(f"{model}.Crv[0].ReadOnly")
        self._server.update(model, {name.removeprefix(f"{model}."): value for name, value in copied.items()})
        self._server.update(model, {"AdptCrvRslt": _COMPLETED})

    def _apply(self) -> None:
        """The inverter's settings as the registers say."""
        settings = self._inverter.settings
        settings.enter_service = self._is_on("703.ES")
        settings.p_limit_pct = self._number("704.WMaxLimPct") if self._is_on("704.WMaxLimPctEna") else None
        settings.q_set_var = self._fixed_var() if self._is_on("704.VarSetEna") else None
        over_excited = self._number("704.PFWInj.Ext") == 0
        settings.power_factor = (self._number("704.PFWInj.PF"), over_excited) if self._is_on("704.PFWInjEna") else None
        settings.volt_var = self._curve(705, 0, "Var") if self._is_on("705.Ena") else None
        settings.volt_watt = self._curve(706, 0, "W") if self._is_on("706.Ena") else None
        settings.volt_var_response_s = self._number("705.Crv[0].RspTms")

    def _fixed_var(self) -> float:
        if self._number("704.VarSetMod") == _VARS:
            return self._number("704.VarSet")
        return self._number("704.VarSetPct") / 100.0 * self._inverter.rating.q_max_var

    def _curve(self, model: int, number: int, ordinate: str) -> tuple[tuple[float, float], ...]:
        """A written curve. ValueError where it is none."""
        where = f"{model}.Crv[{number}]"
        count = int(self._number(f"{where}.ActPt"))
        if not 2 <= count <= 4:
            raise ValueError(f"{where} has {count} points in use, and places for 2 to 4")
        return checked_curve(
            [(self._number(f"{where}.Pt[{i}].V"), self._number(f"{where}.Pt[{i}].{ordinate}")) for i in range(count)]
        )

    # -- reversion

    def _undo_limit(self) -> None:
        reverted = {
            "WMaxLimPct": self._server.value("704.WMaxLimPctRvrt"),
            "WMaxLimPctEna": self._server.value("704.WMaxLimPctEnaRvrt"),
        }
        self._server.update(704, reverted)

    def _undo_var(self) -> None:
        self._server.update(704, {"VarSetEna": self._server.value("704.VarSetEnaRvrt")})

    def _undo_curve(self, model: int) -> None:
        """Back to the curve of RvrtCrv; without one (0) the function is off."""
        curve = self._server.value(f"{model}.RvrtCrv")
        if isinstance(curve, int) and 1 < curve <= _CURVES:
            self._adopt(model, curve)
        else:
            self._server.update(model, {"Ena": 0})

    # -- what it shows

    def step(self) -> None:
        """Reversion timers, the inverter, and its measurements."""
        now_s = self._now_s()
        if any([timer.advance(now_s) for timer in self._timers.values()]):
            self._apply()
        inverter = self._inverter
        inverter.step(now_s)
        s_va = math.hypot(inverter.p_w, inverter.q_var)
        v_v = inverter.v_pu * inverter.rating.v_ln_v
        in_service = inverter.settings.enter_service
        running = _THROTTLED if inverter.is_throttled else _RUNNING
        measured = {
            "St": _ON, "InvSt": running if in_service else _STANDBY, "ConnSt": int(in_service),
            "W": inverter.p_w, "VA": s_va, "Var": inverter.q_var, "PF": inverter.p_w / s_va if s_va else 1.0,
            "A": s_va / (3.0 * v_v) if v_v else 0.0, "LNV": v_v, "LLV": v_v * math.sqrt(3.0), "Hz": inverter.f_hz,
            "TotWhInj": inverter.energy_wh,
        }  # fmt: skip
        self._server.update(701, measured)
        dc_w = inverter.p_w / 0.98
        self._server.update(714, {"DCW": dc_w, "Prt": [{"DCW": dc_w}]})
        for prefix, timer in self._timers.items():
            model, _, name = prefix.partition(".")
            self._server.update(int(model), {f"{name}RvrtRem": math.ceil(timer.remaining_s(now_s))})

    def _number(self, name: str) -> float:
        value = self._server.value(name)
        return 0.0 if value is None or isinstance(value, str) else float(value)

    def _is_on(self, name: str) -> bool:
        return self._server.value(name) == 1

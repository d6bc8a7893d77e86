"""The mind `heuristic`: decides by rules, offline and reproducibly. The other modules of this folder serve it alone."""

from understudy.minds.heuristic.mind import HeuristicMind as HeuristicMind

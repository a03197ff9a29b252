package bench

import "slices"

// Goals lists every goal of the module, those that this machine cannot show included.
func Goals() []Goal {
	return slices.Concat(sealingGoals(), presentGoals(), pakeGoals(), clientGoals(), largeGoals(), fleetGoals(), gatewayGoals(), tlspskGoals(), aceGoals())
}

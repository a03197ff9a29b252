package bench

import "slices"

// Goals lists every goal of the module, those that this machine cannot show included.
func Goals() []Goal {
	return slices.Concat(
		sealingGoals(), presentGoals(), pakeGoals(), aceGoals(),
		clientGoals(), largeGoals(), fleetGoals(), instructionGoals(),
		gatewayGoals(), binaryGoals(), tlspskGoals(),
	)
}

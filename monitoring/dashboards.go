package main

import "errors"

type dashboardsCmd struct{}

// Run is not there yet.
func (dashboardsCmd) Run() error { return errors.New("dashboards are not built yet") }

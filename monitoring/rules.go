package main

import "errors"

type rulesCmd struct{}

// Run is not there yet.
func (rulesCmd) Run() error { return errors.New("rules are not built yet") }

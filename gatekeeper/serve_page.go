package main

// pageFlags are those of the pages for people.
type pageFlags struct {
	SecureCookies bool `env:"GATEKEEPER_SECURE_COOKIES" help:"Browsers come by TLS, though it may end before the gatekeeper: they send the session's cookie by nothing else."`
}

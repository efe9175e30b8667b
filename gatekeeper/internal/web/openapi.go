package web

import (
	_ "embed" // for the document
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"
)

// openAPIDocument describes the door's table of routes (OpenAPI 3.1); a test holds both together.
//
//go:embed openapi.yaml
var openAPIDocument []byte

func (d door) openAPI(c *gin.Context) {
	c.Data(http.StatusOK, "application/yaml", openAPIDocument)
}

func (d door) openAPIAsJSON(c *gin.Context) {
	text, err := yaml.YAMLToJSON(openAPIDocument)
	if err != nil {
		d.refuse(c, err)
		return
	}
	c.Data(http.StatusOK, "application/json", text)
}

package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
)

// Page sizes of the list.
const (
	defaultLimit = 50
	maxLimit     = 100
)

// listItems answers GET /api/items?limit=&offset=, oldest first.
func (a *API) listItems(c *gin.Context) {
	limit, err := number(c, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		a.fail(c, err)
		return
	}
	offset, err := number(c, "offset", 0, 0, maxItems)
	if err != nil {
		a.fail(c, err)
		return
	}
	items, total := a.items.list(offset, limit)
	c.JSON(http.StatusOK, gin.H{"items": items, "total": total, "limit": limit, "offset": offset})
}

func (a *API) createItem(c *gin.Context) {
	wanted, err := decodeItem(c)
	if err != nil {
		a.fail(c, err)
		return
	}
	created, err := a.items.add(wanted)
	if err != nil {
		a.fail(c, err)
		return
	}
	c.Header("Location", fmt.Sprintf("/api/items/%d", created.ID))
	c.JSON(http.StatusCreated, created)
}

func (a *API) showItem(c *gin.Context) {
	found, err := a.items.get(itemID(c))
	if err != nil {
		a.fail(c, err)
		return
	}
	c.JSON(http.StatusOK, found)
}

// replaceItem answers PUT: the whole item is replaced; it never creates one.
func (a *API) replaceItem(c *gin.Context) {
	wanted, err := decodeItem(c)
	if err != nil {
		a.fail(c, err)
		return
	}
	wanted.ID = itemID(c)
	if err := a.items.replace(wanted); err != nil {
		a.fail(c, err)
		return
	}
	c.JSON(http.StatusOK, wanted)
}

func (a *API) deleteItem(c *gin.Context) {
	if err := a.items.remove(itemID(c)); err != nil {
		a.fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// itemID is the id in the path; what is no id finds no item.
func itemID(c *gin.Context) int64 {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return 0
	}
	return id
}

// number reads an optional query parameter within [least, most].
func number(c *gin.Context, name string, fallback, least, most int) (int, error) {
	text := c.Query(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, &fieldError{name, fmt.Sprintf("must be a whole number from %d to %d", least, most)}
	}
	return n, nil
}

// decodeItem reads and checks the item a client sends; an id in it is ignored.
func decodeItem(c *gin.Context) (item, error) {
	var sent struct {
		Name     string `json:"name"`
		Quantity int    `json:"quantity"`
	}
	if err := c.ShouldBindJSON(&sent); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
			return item{}, &fieldError{wrong.Field, "must not be a JSON " + wrong.Value}
		}
		return item{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	switch {
	case strings.TrimSpace(sent.Name) == "" || utf8.RuneCountInString(sent.Name) > 100:
		return item{}, &fieldError{"name", "must have 1 to 100 characters"}
	case sent.Quantity < 0 || sent.Quantity > 1_000_000:
		return item{}, &fieldError{"quantity", "must be between 0 and 1000000"}
	}
	return item{Name: sent.Name, Quantity: sent.Quantity}, nil
}

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

// listItems answers GET /api/items?limit=&offset=, oldest first. limit is 1 to
// 100 (50 without one), offset 0 to 10,000.
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
	if links := pageLinks(offset, limit, total); links != "" {
		c.Header("Link", links)
	}
	c.JSON(http.StatusOK, gin.H{"items": items, "total": total, "limit": limit, "offset": offset})
}

// pageLinks names the pages beside this one in a Link header (RFC 8288), and is
// empty when there are none.
func pageLinks(offset, limit, total int) string {
	page := func(offset int, rel string) string {
		return fmt.Sprintf(`</api/items?limit=%d&offset=%d>; rel="%s"`, limit, offset, rel)
	}
	var links []string
	if offset+limit < total {
		links = append(links, page(offset+limit, "next"))
	}
	if offset > 0 {
		links = append(links, page(max(offset-limit, 0), "prev"))
	}
	return strings.Join(links, ", ")
}

func (a *API) createItem(c *gin.Context) {
	wanted, err := decodeItem(c)
	if err != nil {
		a.fail(c, err)
		return
	}
	created := a.items.add(wanted)
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
// A request that does not say its content type is taken at its word: JSON.
func decodeItem(c *gin.Context) (item, error) {
	if kind := c.ContentType(); kind != "" && kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return item{}, errNotJSON
	}
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

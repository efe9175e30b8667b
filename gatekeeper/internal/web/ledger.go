package web

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// pieceTime bounds how long a client may take for one piece of a long answer: the whole of it has as long as it needs.
const pieceTime = 30 * time.Second

// file sends what write writes, as it comes: lines of JSON, as package ledger has them.
func (d door) file(write func(context.Context, io.Writer) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		to := &patient{writer: c.Writer, control: http.NewResponseController(c.Writer)}
		c.Header("Content-Type", "application/x-ndjson")
		err := write(c.Request.Context(), to)
		switch {
		case err == nil:
		case !to.begun:
			d.refuse(c, err)
		case c.Request.Context().Err() != nil: // the client has gone
		default: // the status is on its way: the client sees that the last line is missing
			d.cfg.Log.Error("file of the ledger cut off", "path", c.FullPath(), "error", err)
		}
	}
}

// patient is a response whose deadline begins anew with each write.
type patient struct {
	writer  io.Writer
	control *http.ResponseController
	begun   bool
}

func (p *patient) Write(piece []byte) (int, error) {
	p.begun = true
	_ = p.control.SetWriteDeadline(time.Now().Add(pieceTime)) // a server without deadlines needs none set anew
	return p.writer.Write(piece)
}

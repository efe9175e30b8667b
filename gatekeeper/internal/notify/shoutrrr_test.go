package notify

import (
	"errors"
	"io"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// post is a mail server: it wants a password and keeps what it is given.
type postOffice struct {
	mu    sync.Mutex
	mails []letter
	full  bool
}

type letter struct {
	from string
	to   []string
	text string
}

func (o *postOffice) NewSession(*smtp.Conn) (smtp.Session, error) { return &visit{office: o}, nil }

type visit struct {
	office *postOffice
	letter letter
	known  bool
}

func (*visit) AuthMechanisms() []string { return []string{sasl.Plain} }

func (v *visit) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		v.known = user == "gate" && password == "pass-w0rd"
		if !v.known {
			return errors.New("wrong password " + password)
		}
		return nil
	}), nil
}

func (v *visit) Mail(from string, _ *smtp.MailOptions) error {
	if !v.known {
		return smtp.ErrAuthRequired
	}
	v.letter = letter{from: from}
	return nil
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	v.letter.to = append(v.letter.to, to)
	return nil
}

func (v *visit) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	v.office.mu.Lock()
	defer v.office.mu.Unlock()
	if v.office.full {
		return &smtp.SMTPError{Code: 452, Message: "mailbox full"}
	}
	v.letter.text = string(text)
	v.office.mails = append(v.office.mails, v.letter)
	return nil
}

func (*visit) Reset()        {}
func (*visit) Logout() error { return nil }

// mailServer listens on loopback until the test ends.
func mailServer(t *testing.T) (office *postOffice, address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	office = &postOffice{}
	server := smtp.NewServer(office)
	server.AllowInsecureAuth, server.Domain = true, "localhost"
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return office, listener.Addr().String()
}

func byMail(t *testing.T, address, password string) Teller {
	t.Helper()
	url := "smtp://gate:" + password + "@" + address + "/?from=gate@example.com&to=ops@example.com,dev@example.com&encryption=None&usestarttls=No"
	return teller(t, sinks.Sink{Type: sinks.Shoutrrr, URL: sinks.Secret{File: file(t, url)}, Template: "{{.Title}}: é {{.Text}}"}, options())
}

func TestMailArrives(t *testing.T) {
	office, address := mailServer(t)
	if a := byMail(t, address, "pass-w0rd").Tell(t.Context(), news(rolledBack)); a.Err != nil {
		t.Fatal(a.Err)
	}
	if len(office.mails) != 2 || office.mails[0].from != "gate@example.com" || office.mails[0].to[0] != "ops@example.com" || office.mails[1].to[0] != "dev@example.com" {
		t.Fatalf("got %+v", office.mails)
	}
	read, err := mail.ReadMessage(strings.NewReader(office.mails[0].text))
	if err != nil {
		t.Fatal(err)
	}
	if got := read.Header.Get("Subject"); got != "Rolled back: shop/cart" {
		t.Errorf("subject %q", got)
	}
	body, err := io.ReadAll(read.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Rolled back: é This is a test", "Version: 2.0.0 (7c9f6d5b8)", "https://gate.example/rollouts/"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
}

// Names with line breaks must add no header, and text with a lone dot must not end the mail.
func TestNobodyWritesHeadersByAName(t *testing.T) {
	office, address := mailServer(t)
	if a := byMail(t, address, "pass-w0rd").Tell(t.Context(), hostile(rolledBack)); a.Err != nil {
		t.Fatal(a.Err)
	}
	read, err := mail.ReadMessage(strings.NewReader(office.mails[0].text))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(read.Header["Subject"]); n != 1 || len(read.Header) != 6 {
		t.Errorf("%d subjects, headers %v", n, read.Header)
	}
	if body, err := io.ReadAll(read.Body); err != nil || !strings.Contains(string(body), "Time: ") {
		t.Errorf("the mail ends early (%v)", err)
	}
}

func TestWrap(t *testing.T) {
	long := strings.Repeat("ü", maxLine)
	for text, want := range map[string]string{
		"short\nlines\n": "short\nlines\n", "": "", long + "\n": long + "\n", long + "ü\n": long + "\nü\n",
		"two words " + long + "\nx": "two words \n" + long + "\nx",
	} {
		if got := wrap(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMailThatIsNotTaken(t *testing.T) {
	office, address := mailServer(t)
	office.full = true
	a := byMail(t, address, "pass-w0rd").Tell(t.Context(), news(rolledBack))
	if a.Err == nil || !a.Retry || !strings.Contains(a.Err.Error(), "mailbox full") {
		t.Errorf("full: %+v", a)
	}
	a = byMail(t, address, "wr0ng-pass").Tell(t.Context(), news(rolledBack))
	if a.Err == nil || !a.Retry || strings.Contains(a.Err.Error(), "wr0ng") {
		t.Errorf("wrong password: %+v", a)
	}
}

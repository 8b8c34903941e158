package main

import (
	"context"
	"errors"
	"html/template"
	"log"
	"net/http"
	"time"

	pb "example.com/login/gen/tokenbroker/v1"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>An auth server</title>
<body style="font: 16px sans-serif; max-width: 40em; margin: 3em auto">
<h1>An auth server</h1>
{{with .Message}}<p id="message">{{.}}</p>{{end}}
{{if .User}}
<p>You are <code id="user">{{.User}}</code>.</p>
<ul>{{range .Rows}}
<li id="provider-{{.Provider}}">{{.Provider}}: {{.State}}
<form method="post" action="/backend/{{.Provider}}"><button>Call the backend</button></form></li>{{end}}
</ul>
<form method="post" action="/logout"><button>Log out</button></form>
{{else}}
<form method="post" action="/login"><button>Log in</button></form>
{{end}}
</body></html>
`))

// A View is what the page shows. No token is in it.
type View struct {
	Message string
	User    string
	Rows    []Row
}

// A Row is one provider on the page.
type Row struct {
	Provider string
	State    string
}

func show(writer http.ResponseWriter, code int, view View) {
	writer.Header().Set("Content-Type", "text/html; charset=utf-8")
	writer.Header().Set("Cache-Control", "no-store")
	writer.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	// The URL of a callback holds a code and a state.
	writer.Header().Set("Referrer-Policy", "no-referrer")
	writer.WriteHeader(code)
	if err := page.Execute(writer, view); err != nil {
		log.Print("a page wasn't written whole")
	}
}

func refuse(writer http.ResponseWriter, code int, message string) {
	show(writer, code, View{Message: message})
}

// binding has the broker refuse rows that aren't this user's.
func (s *Session) binding() *pb.Binding {
	client := clientID
	return &pb.Binding{UserId: &s.UserID, ClientId: &client}
}

// home shows at which providers the session has tokens.
func (s *Server) home(writer http.ResponseWriter, request *http.Request) {
	session := s.sessions.of(request, time.Now())
	if session == nil {
		show(writer, http.StatusOK, View{})
		return
	}
	found, err := s.broker.access.GetAllAccessTokens(request.Context(), &pb.GetAllAccessTokensRequest{
		SessionId: session.ID, Binding: session.binding(),
	})
	if err != nil {
		logBroker("the tokens of a session can't be listed", err)
		refuse(writer, http.StatusServiceUnavailable, "Your tokens can't be looked at now.")
		return
	}
	view := View{User: session.UserID}
	for _, provider := range s.chain {
		row := Row{Provider: provider.Name, State: "no token"}
		if found.GetTokens()[provider.Name] != nil {
			row.State = "has a token"
		} else if failure := found.GetFailed()[provider.Name]; failure != nil {
			row.State = "no token now (" + failure.GetReason() + ")"
		}
		view.Rows = append(view.Rows, row)
	}
	show(writer, http.StatusOK, view)
}

// backend calls a backend of a provider, its userinfo endpoint, for the user.
func (s *Server) backend(writer http.ResponseWriter, request *http.Request) {
	session := s.sessions.of(request, time.Now())
	provider, _ := s.provider(request.PathValue("provider"))
	if session == nil || provider == nil {
		refuse(writer, http.StatusUnauthorized, "Please log in.")
		return
	}
	subject, err := s.callBackend(request.Context(), session, provider)
	switch reason(err) {
	case "ROW_NOT_FOUND", "REAUTH_REQUIRED", "NO_REFRESH_TOKEN", "NOT_REFRESHABLE", "BINDING_MISMATCH":
		refuse(writer, http.StatusUnauthorized, "Please log in again at "+provider.Name+".")
		return
	}
	if err != nil {
		if reason(err) != "" {
			logBroker("there is no access token", err)
		} else {
			log.Printf("the backend of %s can't be called", provider.Name)
		}
		refuse(writer, http.StatusBadGateway, "The backend of "+provider.Name+" can't be called now.")
		return
	}
	show(writer, http.StatusOK, View{Message: "The backend of " + provider.Name + " knows you as " + subject + ".", User: session.UserID})
}

// callBackend calls with the access token that the broker has, which the broker refreshes before it ends. If the backend
// refuses the token all the same, the broker is told, and the call is made once more with the newer one.
func (s *Server) callBackend(ctx context.Context, session *Session, provider *Provider) (string, error) {
	metadata, err := provider.discover(ctx)
	if err != nil {
		return "", err
	}
	ask := &pb.GetAccessTokenRequest{SessionId: session.ID, Provider: provider.Name, Binding: session.binding()}
	for {
		got, err := s.broker.access.GetAccessToken(ctx, ask)
		if err != nil {
			return "", err
		}
		var user struct {
			Subject string `json:"sub"`
		}
		err = get(ctx, metadata.UserinfoEndpoint, got.GetToken().GetAccessToken(), &user)
		var refused errStatus
		if errors.As(err, &refused) && int(refused) == http.StatusUnauthorized && ask.RejectedVersion == nil {
			version := got.GetToken().GetVersion()
			ask.RejectedVersion = &version
			continue
		}
		return user.Subject, err
	}
}

// logout deletes the session's tokens at all providers. The cookie stays until that is done, so that it can be repeated.
func (s *Server) logout(writer http.ResponseWriter, request *http.Request) {
	if session := s.sessions.of(request, time.Now()); session != nil {
		if _, err := s.broker.tokens.Delete(request.Context(), everything(session.ID)); err != nil {
			logBroker("a logout failed", err)
			refuse(writer, http.StatusServiceUnavailable, "You are still logged in. Please try again.")
			return
		}
	}
	http.SetCookie(writer, s.cookie(sessionCookie, "", 0))
	http.Redirect(writer, request, "/", http.StatusSeeOther)
}

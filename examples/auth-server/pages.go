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
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>An auth server</title>
<body style="font: 16px sans-serif; max-width: 40em; margin: 3em auto; padding: 0 1em">
<h1>An auth server</h1>
{{with .Message}}<p id="message">{{.}}</p>{{end}}
{{if .Again}}<p><a href="">Try again</a> or <a href="/">begin again</a></p>
{{else if .Back}}<p><a href="/">Back</a></p>
{{else if .User}}
<p>You are {{if .Still}}still {{end}}logged in as <code id="user">{{.User}}</code>.</p>
{{if .Rows}}<ul>{{range .Rows}}
<li id="provider-{{.Provider}}">{{.Provider}}: {{.State}}
<form method="post" action="/backend/{{.Provider}}"><button>Call the backend</button></form></li>{{end}}
</ul>{{else}}<p><a href="/">Back</a></p>{{end}}
<form method="post" action="/logout"><button>Log out</button></form>
{{else}}
<form method="post" action="/login"><button>Log in</button></form>
{{end}}
</body></html>
`))

// A View is what the page shows. No token is in it.
type View struct {
	Message string
	Again   bool // Whether the same request may succeed later.
	Back    bool // Whether nothing but the way back is shown.
	User    string
	Still   bool // Whether the user is logged in although a login failed.
	Rows    []Row
}

// A Row is one provider on the page.
type Row struct {
	Provider string
	State    string
}

func (s *Server) show(writer http.ResponseWriter, code int, view View) {
	writer.Header().Set("Content-Type", "text/html; charset=utf-8")
	writer.WriteHeader(code)
	if err := page.Execute(writer, view); err != nil {
		log.Print("a page wasn't written whole")
	}
}

// say shows a message, and from where the user can go on: the session if there is one, or else a login.
func (s *Server) say(writer http.ResponseWriter, request *http.Request, code int, message string) {
	view := View{Message: message}
	if session := s.sessions.of(request, time.Now()); session != nil {
		view.User = session.UserID
	}
	s.show(writer, code, view)
}

func (s *Server) nowhere(writer http.ResponseWriter, request *http.Request) {
	s.say(writer, request, http.StatusNotFound, "There is no such page.")
}

// foreign is what the user sees when another site's page sent one of the forms.
func (s *Server) foreign(writer http.ResponseWriter, request *http.Request) {
	log.Print("a form that another site sent is refused")
	s.show(writer, http.StatusForbidden, View{Message: "Another site asked for this, so it wasn't done.", Back: true})
}

// toHome is for who reloads or types the address of a form.
func toHome(writer http.ResponseWriter, request *http.Request) {
	http.Redirect(writer, request, "/", http.StatusSeeOther)
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
		s.show(writer, http.StatusOK, View{})
		return
	}
	found, err := s.broker.access.GetAllAccessTokens(request.Context(), &pb.GetAllAccessTokensRequest{
		SessionId: session.ID, Binding: session.binding(),
	})
	if err != nil {
		logFailure("the tokens of a session can't be listed", err)
		s.show(writer, http.StatusServiceUnavailable, View{Message: "Your session can't be looked at now.", Again: true})
		return
	}
	if len(found.GetTokens())+len(found.GetFailed()) == 0 {
		// It was logged out: the JWT alone is good for nothing.
		http.SetCookie(writer, s.cookie(sessionCookie, "", 0))
		s.show(writer, http.StatusOK, View{Message: "Your session has ended. Please log in again."})
		return
	}
	view := View{User: session.UserID}
	for _, provider := range s.chain {
		row := Row{Provider: provider.Name, State: "no token"}
		if found.GetTokens()[provider.Name] != nil {
			row.State = "has a token"
		} else if failure := found.GetFailed()[provider.Name]; needsLogin(failure.GetReason()) {
			row.State = "no token until you log in again"
		} else if failure != nil {
			row.State = "no token at the moment"
		}
		view.Rows = append(view.Rows, row)
	}
	s.show(writer, http.StatusOK, view)
}

// needsLogin says whether only a login brings a token again.
func needsLogin(reason string) bool {
	switch reason {
	case "ROW_NOT_FOUND", "REAUTH_REQUIRED", "NO_REFRESH_TOKEN", "NOT_REFRESHABLE", "BINDING_MISMATCH":
		return true
	}
	return false
}

// backend calls a backend of a provider, its userinfo endpoint, for the user.
func (s *Server) backend(writer http.ResponseWriter, request *http.Request) {
	session := s.sessions.of(request, time.Now())
	provider, _ := s.provider(request.PathValue("provider"))
	if provider == nil {
		s.nowhere(writer, request)
		return
	}
	if session == nil {
		s.say(writer, request, http.StatusUnauthorized, "You are logged out. Please log in.")
		return
	}
	subject, err := s.callBackend(request.Context(), session, provider)
	switch {
	case err == nil:
		s.say(writer, request, http.StatusOK, "The backend of "+provider.Name+" knows you as "+subject+".")
	case needsLogin(reason(err)):
		s.say(writer, request, http.StatusUnauthorized, "There is no token of "+provider.Name+" any more. Please log out, and log in again.")
	default:
		logFailure("the backend of "+provider.Name+" can't be called", err)
		s.say(writer, request, http.StatusBadGateway, "The backend of "+provider.Name+" can't be called now.")
	}
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
			logFailure("a logout failed", err)
			s.say(writer, request, http.StatusServiceUnavailable, "You couldn't be logged out. Please try again.")
			return
		}
	}
	http.SetCookie(writer, s.cookie(sessionCookie, "", 0))
	http.Redirect(writer, request, "/", http.StatusSeeOther)
}

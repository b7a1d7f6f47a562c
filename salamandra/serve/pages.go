package serve

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
)

//go:embed assets/openapi.yaml
var openAPIText []byte

//go:embed assets/page.html
var pageText string

//go:embed assets/page.css
var pageStyle string

//go:embed assets/page.js
var pageScript string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// makePage returns the page and its content security policy, which allows the
// page's own style and script and requests to this server, nothing else.
func makePage() (page []byte, policy string, err error) {
	var b bytes.Buffer
	err = pageTemplate.Execute(&b, map[string]any{"Style": template.CSS(pageStyle), "Script": template.JS(pageScript)})
	policy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		contentHash(pageStyle), contentHash(pageScript))
	return b.Bytes(), policy, err
}

func contentHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// page answers with the page to type queries into.
func (s *Server) page(w http.ResponseWriter, _ *http.Request, _ *entry) error {
	page, policy, err := makePage()
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	writeBytes(w, http.StatusOK, "text/html; charset=utf-8", page)
	return nil
}

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request, _ *entry) error {
	writeBytes(w, http.StatusOK, "application/yaml", openAPIText)
	return nil
}

// health says that the process answers.
func (s *Server) health(w http.ResponseWriter, _ *http.Request, _ *entry) error {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// ready says whether requests should be sent here.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request, _ *entry) error {
	switch {
	case s.draining.Load():
		return fail(http.StatusServiceUnavailable, "shutting_down", "", "the server is shutting down")
	case !s.isReady():
		return fail(http.StatusServiceUnavailable, "warming_up", "", "the models are being prepared")
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
	return nil
}

// isReady reports whether all models are warm and requests are taken.
func (s *Server) isReady() bool {
	return !s.draining.Load() && !slices.ContainsFunc(s.models.all(), func(v *served) bool { return !v.Ready() })
}

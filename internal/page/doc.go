// Package page makes reports of one HTML file each: they look alike in light and
// dark, on a desk and on a phone, have no script, load nothing, and say so in a
// content security policy that allows only their own style. A live page, which a
// server keeps up to date, has one script that asks for it again.
//
//	t := template.Must(page.Templates().Parse(`{{define "report"}}{{template "head" .}}<p>{{.Text}}</p>{{template "foot" .}}{{end}}`))
//	err := page.Write(w, t, "report", struct{ page.Head; Text string }{page.NewHead("Title"), text})
//
// Data are escaped by html/template; pass texts of strangers through [Printable]
// as well, so that no control character or direction mark disguises them. Curves
// and bars are [Chart], drawn as SVG by {{template "chart" .}}.
//
// # What this package is not for
//
// It knows nothing of what it shows, and has no interaction beyond what HTML has:
// sections that open, radio buttons that filter.
package page

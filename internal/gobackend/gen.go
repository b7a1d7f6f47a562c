//go:build ignore

package main

// This program writes operations.go: the operations of a graph, each recorded.

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"reflect"
	"strings"

	"github.com/gomlx/compute"
)

func main() {
	w := bytes.NewBufferString(`// Made by gen.go; do not edit.

package gobackend

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)
`)
	value := reflect.TypeFor[compute.Value]()
	operations := reflect.TypeFor[compute.StandardOps]()
	for i := range operations.NumMethod() {
		m := operations.Method(i)
		var params, inputs, others, args []string
		last := m.Type.NumIn() - 1
		list := ""
		for j := range last + 1 {
			name, t := fmt.Sprintf("a%d", j), m.Type.In(j)
			kind := strings.ReplaceAll(t.String(), "interface {}", "any")
			switch {
			case t == value && list != "":
				panic(m.Name + ": a value after a list of values")
			case t == value:
				args = append(args, fmt.Sprintf("v[%d]", len(inputs)))
				inputs = append(inputs, name)
			case t.Kind() == reflect.Slice && t.Elem() == value:
				list = name
				args = append(args, fmt.Sprintf("v[%d:]", len(inputs)))
			default:
				others = append(others, name)
				args = append(args, name)
			}
			if m.Type.IsVariadic() && j == last {
				kind = "..." + strings.TrimPrefix(kind, "[]")
				args[len(args)-1] += "..."
			}
			params = append(params, name+" "+kind)
		}
		var results, names, out, single []string
		for j := range m.Type.NumOut() - 1 {
			kind := m.Type.Out(j).String()
			results = append(results, kind)
			names = append(names, fmt.Sprintf("r%d", j))
			single = append(single, fmt.Sprintf("r[%d]", j))
			out = append(out, "nil")
		}
		ins := "[]compute.Value{" + strings.Join(inputs, ", ") + "}"
		if list != "" {
			ins = "append(" + ins + ", " + list + "...)"
		}
		fmt.Fprintf(w, "\n// %s implements [compute.Function].\nfunc (f *function) %s(%s) (%s, error) {\n", m.Name, m.Name, strings.Join(params, ", "), strings.Join(results, ", "))
		fmt.Fprintf(w, "\tr, err := f.record(compute.OpType%s, %s, []any{%s}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {\n", m.Name, ins, strings.Join(others, ", "))
		if results[0] == "[]compute.Value" {
			fmt.Fprintf(w, "\t\treturn g.%s(%s)\n\t})\n\treturn r, err\n}\n", m.Name, strings.Join(args, ", "))
			continue
		}
		fmt.Fprintf(w, "\t\t%s, err := g.%s(%s)\n\t\treturn []compute.Value{%s}, err\n\t})\n", strings.Join(names, ", "), m.Name, strings.Join(args, ", "), strings.Join(names, ", "))
		fmt.Fprintf(w, "\tif err != nil {\n\t\treturn %s, err\n\t}\n\treturn %s, nil\n}\n", strings.Join(out, ", "), strings.Join(single, ", "))
	}
	fmt.Fprintf(w, "\n// recorded reports whether graphs may have the operation.\nfunc recorded(op compute.OpType) bool {\n\tswitch op {\n\tcase compute.OpTypeParameter, compute.OpTypeConstant,\n")
	for i := range operations.NumMethod() {
		fmt.Fprintf(w, "\t\tcompute.OpType%s%s\n", operations.Method(i).Name, map[bool]string{true: ":", false: ","}[i == operations.NumMethod()-1])
	}
	fmt.Fprint(w, "\t\treturn true\n\t}\n\treturn false\n}\n")
	text, err := format.Source(w.Bytes())
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile("operations.go", text, 0o644); err != nil {
		panic(err)
	}
}

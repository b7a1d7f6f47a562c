package lang_test

import (
	"fmt"

	"github.com/impulse-salamandra/finetune/internal/lang"
)

func Example() {
	for _, text := range []string{
		"Lista de proyectos sobre inteligencia artificial",
		"Llista de projectes amb participació de l'IRTA",
		"List of projects with participation of Universitat de Girona",
		"grafè 2023",
		"CRISPR",
	} {
		fmt.Println(lang.Identify(text), text)
	}
	// Output:
	// ES Lista de proyectos sobre inteligencia artificial
	// CA Llista de projectes amb participació de l'IRTA
	// EN List of projects with participation of Universitat de Girona
	// CA grafè 2023
	// unknown CRISPR
}

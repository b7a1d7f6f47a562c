// Deploy merges an adapter into its base and verifies the result:
// deploy BASE_DIR ADAPTER_DIR OUTPUT_DIR
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/lora"
)

func main() {
	opts := lora.MergeOptions{Base: os.Args[1], Adapter: os.Args[2], Output: os.Args[3], Verify: 4}
	report, err := lora.Merge(context.Background(), opts)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("merged %d tensors; %v\n", len(report.Merged), report.Verified)
}

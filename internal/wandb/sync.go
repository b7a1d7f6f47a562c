package wandb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrNoClient: the wandb program is not installed, or has no API key.
var ErrNoClient = errors.New("no W&B client")

// runAddress is what the client prints of where a run is.
var runAddress = regexp.MustCompile(`https?://\S+/runs/\S+`)

// StartSync uploads the run in dir with the installed wandb program, while the
// run is written and until it is closed. It never asks anything: without the
// program on PATH, or without WANDB_API_KEY or a netrc entry, it fails with
// [ErrNoClient]. Address is called once, when the client says where the run is.
// Wait waits for the end of the upload; the context's end ends it early.
func StartSync(ctx context.Context, dir string, address func(url string)) (wait func() error, err error) {
	program, err := exec.LookPath("wandb")
	if err != nil {
		return nil, fmt.Errorf("wandb: %w: the program wandb is not on PATH (pip install wandb)", ErrNoClient)
	}
	if !loggedIn() {
		return nil, fmt.Errorf("wandb: %w: neither WANDB_API_KEY nor a netrc entry (wandb login)", ErrNoClient)
	}
	cmd := exec.CommandContext(ctx, program, "beta", "sync", "--live", "--yes", dir)
	cmd.Dir = filepath.Dir(dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("wandb: %w", err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("wandb: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		said := readAddress(bufio.NewScanner(out), address)
		if err := cmd.Wait(); err != nil {
			done <- fmt.Errorf("wandb sync: %w: %s", err, said)
			return
		}
		done <- nil
	}()
	return func() error { return <-done }, nil
}

// readAddress reads what the client prints, and returns its last line.
func readAddress(lines *bufio.Scanner, address func(string)) (last string) {
	found := false
	for lines.Scan() {
		if text := strings.TrimSpace(lines.Text()); text != "" {
			last = text
		}
		if url := runAddress.FindString(lines.Text()); url != "" && !found {
			found = true
			address(url)
		}
	}
	return last
}

// loggedIn reports whether the client would find an API key without asking.
func loggedIn() bool {
	if os.Getenv("WANDB_API_KEY") != "" {
		return true
	}
	host := "api.wandb.ai"
	if base := os.Getenv("WANDB_BASE_URL"); base != "" {
		_, host, _ = strings.Cut(base, "://")
		host, _, _ = strings.Cut(host, "/")
		host, _, _ = strings.Cut(host, ":")
	}
	path := os.Getenv("NETRC")
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return false
		}
		path = filepath.Join(home, ".netrc")
	}
	text, err := os.ReadFile(path)
	return err == nil && strings.Contains(string(text), "machine "+host)
}

package lora

import (
	"fmt"
	"slices"
)

// A Problem is a reason why a server would not load an adapter, or would
// compute something else with it.
type Problem struct {
	// Setting is the key of adapter_config.json or the module it is about.
	Setting string
	// Text says what the server does.
	Text string
	// Remedy says what to do about it.
	Remedy string
}

// String returns the problem in one line.
func (p Problem) String() string { return p.Setting + ": " + p.Text + "; " + p.Remedy }

// Servers that CheckServing knows.
const (
	ServerVLLM     = "vllm"
	ServerLlamaCpp = "llama.cpp"
)

// vllmRanks are the values of vLLM's --max-lora-rank, of which 16 is the
// default.
var vllmRanks = []int{16, 32, 64, 128, 256, 320, 512}

// servedModules are the linear layers that both servers adapt in a Llama.
var servedModules = DefaultConfig().TargetModules

// CheckServing reports what stands between the adapter in dir and a server:
// ServerVLLM with its default settings, which loads PEFT's files, or
// ServerLlamaCpp, which loads them converted to GGUF. No problem means that the
// server loads the adapter and computes with its scale.
//
// It fails with ErrOption for another target, and as [ReadAdapter] does.
func CheckServing(target, dir string) ([]Problem, error) {
	if target != ServerVLLM && target != ServerLlamaCpp {
		return nil, fmt.Errorf("lora: serving: %w: target %q, want %q or %q", ErrOption, target, ServerVLLM, ServerLlamaCpp)
	}
	a, err := ReadAdapter(dir)
	if err != nil {
		return nil, err
	}
	problems := a.commonProblems(target)
	if target == ServerVLLM {
		problems = append(problems, a.vllmProblems()...)
	}
	return problems, nil
}

// commonProblems are those that both servers have.
func (a *Adapter) commonProblems(target string) []Problem {
	var problems []Problem
	add := func(setting, text, remedy string) { problems = append(problems, Problem{setting, text, remedy}) }
	if a.Config.UseDoRA {
		add("use_dora", target+" has no DoRA", "merge the adapter into the base")
	}
	const fold = "write the adapter that FoldScale returns"
	if a.Config.UseRSLoRA && target == ServerVLLM {
		add("use_rslora", "versions of vLLM before 0.7 divide alpha by the rank all the same", fold)
	}
	if a.Config.UseRSLoRA && target == ServerLlamaCpp {
		add("use_rslora", "llama.cpp divides alpha by the rank all the same", fold)
	}
	for _, m := range a.Modules {
		if a.Config.AlphaOf(m.Name) != a.Config.Alpha {
			add("alpha_pattern", target+" has one alpha for all modules", fold)
			break
		}
	}
	var foreign []string
	for _, m := range a.Modules {
		if kind := lastSegment(m.Name); !slices.Contains(servedModules, kind) && !slices.Contains(foreign, kind) {
			foreign = append(foreign, kind)
			add(kind, target+" may not adapt this layer", "merge the adapter into the base, or train it without")
		}
	}
	return problems
}

// vllmProblems are those of vLLM alone: it has a limit for the rank, and takes
// the scale from the one rank in the settings.
func (a *Adapter) vllmProblems() []Problem {
	var problems []Problem
	highest, varies := a.Config.Rank, false
	for _, m := range a.Modules {
		highest = max(highest, m.Rank)
		varies = varies || m.Rank != a.Config.Rank
	}
	if varies {
		problems = append(problems, Problem{"rank_pattern", "vLLM takes the scale of every module from r", "write the adapter that FoldScale returns"})
	}
	i, _ := slices.BinarySearch(vllmRanks, highest)
	switch {
	case i == len(vllmRanks):
		problems = append(problems, Problem{
			"r", fmt.Sprintf("rank %d is above %d, the highest that vLLM knows", highest, vllmRanks[i-1]),
			"merge the adapter into the base, or reduce its rank with Combine",
		})
	case i > 0:
		problems = append(problems, Problem{
			"r", fmt.Sprintf("rank %d is above %d, the default limit of vLLM", highest, vllmRanks[0]),
			fmt.Sprintf("start vLLM with --max-lora-rank %d, or reduce the rank with Combine", vllmRanks[i]),
		})
	}
	return problems
}

// FoldScale returns an adapter with the same update, for readers that know only
// one alpha and one rank: neither rsLoRA nor patterns are used any more, and
// Alpha/Rank is the scale of every module.
//
// Where all modules have one rank and scale, A and B are those of a. Otherwise
// modules of lower rank are filled up with zeros, and B takes up, rounded to
// float32, what the scale of a module differs by.
func (a *Adapter) FoldScale() *Adapter {
	folded := &Adapter{Config: a.Config}
	c := &folded.Config
	c.UseRSLoRA, c.RankPattern, c.AlphaPattern = false, nil, nil
	if len(a.Modules) == 0 {
		return folded
	}
	c.Rank = 0
	for _, m := range a.Modules {
		c.Rank = max(c.Rank, m.Rank)
	}
	scale := a.Config.ScaleOf(a.Modules[0].Name)
	c.Alpha = scale * float64(c.Rank)
	for _, m := range a.Modules {
		folded.Modules = append(folded.Modules, m.fold(c.Rank, a.Config.ScaleOf(m.Name)/scale))
	}
	return folded
}

// fold returns the module with zeros up to rank and factor times B.
func (m Module) fold(rank int, factor float64) Module {
	if m.Rank == rank && factor == 1 {
		return m
	}
	b := make([]float32, m.Out*rank)
	for i := range m.Out {
		for r, v := range m.B[i*m.Rank : (i+1)*m.Rank] {
			b[i*rank+r] = float32(factor * float64(v))
		}
	}
	m.A = append(slices.Clip(m.A), make([]float32, (rank-m.Rank)*m.In)...)
	m.B, m.Rank = b, rank
	return m
}

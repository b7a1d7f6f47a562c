package lora

import (
	"fmt"
	"slices"
)

// problem is one line about a setting or a module: what the server does, and what
// to do about it.
func problem(setting, text, remedy string) string { return setting + ": " + text + "; " + remedy }

// Servers that CheckServing knows.
const (
	serverVLLM     = "vllm"
	serverLlamaCpp = "llama.cpp"
)

// vllmRanks are the values of vLLM's --max-lora-rank, of which 16 is the
// default.
var vllmRanks = []int{16, 32, 64, 128, 256, 320, 512}

// servedModules are the linear layers that both servers adapt in a Llama.
var servedModules = DefaultConfig().TargetModules

// CheckServing reports what stands between the adapter in dir and a server:
// "vllm" with its default settings, which loads PEFT's files, or "llama.cpp",
// which loads them converted to GGUF. Each problem is a line
// that begins with a key of adapter_config.json or a module and ends with a remedy;
// none means that the server loads the adapter and computes with its scale.
//
// It fails for another target, and as [ReadAdapter] does.
func CheckServing(target, dir string) ([]string, error) {
	if target != serverVLLM && target != serverLlamaCpp {
		return nil, fmt.Errorf("lora: serving: %w: target %q, want %q or %q", errOption, target, serverVLLM, serverLlamaCpp)
	}
	a, err := ReadAdapter(dir)
	if err != nil {
		return nil, err
	}
	problems := a.commonProblems(target)
	if target == serverVLLM {
		problems = append(problems, a.vllmProblems()...)
	}
	return problems, nil
}

// commonProblems are those that both servers have.
func (a *Adapter) commonProblems(target string) []string {
	var problems []string
	add := func(setting, text, remedy string) { problems = append(problems, problem(setting, text, remedy)) }
	if a.Config.UseDoRA {
		add("use_dora", target+" has no DoRA", "merge the adapter into the base")
	}
	const fold = "write the adapter that FoldScale returns"
	if a.Config.UseRSLoRA && target == serverVLLM {
		add("use_rslora", "versions of vLLM before 0.7 divide alpha by the rank all the same", fold)
	}
	if a.Config.UseRSLoRA && target == serverLlamaCpp {
		add("use_rslora", "llama.cpp divides alpha by the rank all the same", fold)
	}
	for _, m := range a.Modules {
		if a.Config.alphaOf(m.Name) != a.Config.Alpha {
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

// vllmProblems are those of vLLM only: it has a limit for the rank, and takes
// the scale from the one rank in the settings.
func (a *Adapter) vllmProblems() []string {
	var problems []string
	highest, varies := a.Config.Rank, false
	for _, m := range a.Modules {
		highest = max(highest, m.Rank)
		varies = varies || m.Rank != a.Config.Rank
	}
	if varies {
		problems = append(problems, problem("rank_pattern", "vLLM takes the scale of every module from r", "write the adapter that FoldScale returns"))
	}
	i, _ := slices.BinarySearch(vllmRanks, highest)
	switch {
	case i == len(vllmRanks):
		problems = append(problems, problem(
			"r", fmt.Sprintf("rank %d is above %d, the highest that vLLM knows", highest, vllmRanks[i-1]),
			"merge the adapter into the base, or reduce its rank with Combine",
		))
	case i > 0:
		problems = append(problems, problem(
			"r", fmt.Sprintf("rank %d is above %d, the default limit of vLLM", highest, vllmRanks[0]),
			fmt.Sprintf("start vLLM with --max-lora-rank %d, or reduce the rank with Combine", vllmRanks[i]),
		))
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
	folded := &Adapter{Config: a.Config, Warnings: a.Warnings}
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

package main

// flagNames are the flags of fields of the library's options.
var flagNames = map[string]string{
	"Model": "model", "Data": "data", "OutputDir": "output-dir", "InitAdapter": "init-adapter", "Test": "test-file", "AllowTestOverlap": "allow-test-overlap",
	"Contract.Date": "date", "Contract.Schema": "schema", "Contract.SystemPrompt": "prompt-file", "Contract.RequestValues": "request-values", "NormaliseAnswers": "normalise-answers",
	"MaxLength": "max-length", "Overlong": "overlong", "Split.Fraction": "eval-split", "Plan.BatchSize": "batch-size", "Plan.MaxShapes": "max-shapes",
	"Metric": "metric", "Comparators": "comparators", "Unconstrained": "constrained", "Samples": "report-samples", "Dtype": "dtype", "Quantize": "quantize", "Backend": "backend", "Devices": "devices", "Shards": "shard",
	"Average.Checkpoints": "average-checkpoints", "Average.Method": "average-method", "Average.Rank": "average-rank",
	"Resume": "resume", "ResumeAnyway": "resume-anyway", "Overwrite": "overwrite",
	"LoRA.Rank": "lora-r", "LoRA.Alpha": "lora-alpha", "LoRA.Dropout": "lora-dropout", "LoRA.TargetModules": "target-modules", "LoRA.UseRSLoRA": "use-rslora", "LoRA.UseDoRA": "use-dora",
	"Train.GradientAccumulationSteps": "gradient-accumulation-steps", "Train.GradientCheckpointing": "gradient-checkpointing", "Train.DeviceDeadline": "device-deadline", "Train.WarmupSteps": "warmup-steps", "Train.EarlyStoppingPatience": "early-stopping-patience", "Train.LearningRate": "learning-rate", "Train.WeightDecay": "weight-decay",
	"Base": "base-model", "DownloadBase": "download", "AllowDrift": "allow-drift", "SystemPrompt": "prompt-file", "Schema": "schema", "MaxRank": "max-rank", "MaxNewTokens": "max-new-tokens", "Whitespace": "whitespace",
	"Train.LoRAPlusRatio": "lora-plus-ratio", "Train.NEFTuneAlpha": "neftune-alpha", "Train.Checkpoints.Steps": "save-steps",
}

// flagOf is the flag of a field.
func flagOf(field string) string {
	if name, ok := flagNames[field]; ok {
		return "--" + name
	}
	return field
}

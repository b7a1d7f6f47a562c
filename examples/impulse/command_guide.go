package main

import "github.com/spf13/cobra"

// newGuideTopic is a topic of help: the commands of the IMPULSE project's guide.
func newGuideTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "guide",
		Short: "The commands of the IMPULSE fine-tuning guide, and those of this program",
		Long: `The IMPULSE fine-tuning guide's commands, and those of this program. Flags are
the same, so that a line of the guide works once its first words are changed:

  python scripts/prepare_training_data.py ...   impulse prepare ...
  python scripts/train_simple.py ...            impulse train ...
  python scripts/validate_simple.py ...         impulse validate ...
  python scripts/merge_lora.py ...              impulse merge ...

  pip install -r requirements.txt               nothing; impulse doctor says what of a GPU is found
  python -c "import torch; ..."                 impulse doctor
  PeftModel.from_pretrained(base, DIR)          impulse ask --model-path DIR (or finetune.Open from Go)
  the FastAPI endpoint /parse                   impulse serve --model-path DIR
  wandb login; train_simple.py --use-wandb      the same: the run is written offline, and uploaded
                                                while wandb is installed and logged in
  load_in_8bit=True                             impulse train --quantize 8bit (or 4bit)
  temperature=0.1, top_p=0.9,                   --temperature 0.1 --top-p 0.9 --repetition-penalty 1.1
    repetition_penalty=1.1                        of validate, serve and ask
  early stopping by hand                        --early-stopping-patience, on by default
  paraphrases, variations                       impulse augment

What differs:

  - Answers are kept to the schema unless --constrained=false (validate) or --free (ask).
  - Nothing is written over what exists unless --overwrite; train goes on with --resume.
  - Without --output-dir, train writes to models/, named by model and data.
  - Examples longer than --max-length are an error, not cut: --overlong says otherwise.`,
	}
}

"""What people guess: names and values of other libraries, and what is meant here."""

from __future__ import annotations

__all__ = ["NAMES", "VALUES"]

# Class to what is meant, and the guesses at it: names of other libraries for the same thing.
# What is meant is a parameter of the class, or a sentence.
NAMES: dict[str, dict[str, str]] = {
    "_BaseHUG": {
        "encoder": "module model net network backbone estimator architecture base_model trunk",
        "n_components": "embedding_dim embedding_size embed_dim emb_dim emb_size n_dims n_dim dim "
        "dims ndim d out_dim output_dim latent_dim embedding_dimension out_features",
        "uniformity": "loss loss_fn loss_function criterion objective measure energy",
        "proxies": "prototypes centers centres class_centers anchors proxy",
        "optimizer": "optim optimiser solver",
        "learning_rate": "lr eta eta0 learning_rate_init base_lr step_size",
        "schedule": "scheduler lr_scheduler lr_schedule learning_rate_schedule",
        "weight_decay": "l2 wd decay l2_reg reg_lambda regularization C",
        "batch_size": "bs batchsize minibatch_size",
        "max_epochs": "epochs n_epochs num_epochs nb_epochs n_epoch max_iter n_iter iterations "
        "n_iterations num_iterations max_iters epoch steps max_steps",
        "early_stopping": "early_stop",
        "validation_fraction": "validation_split val_fraction val_split validation_size test_size",
        "n_iter_no_change": "patience early_stopping_rounds early_stopping_patience",
        "track": "metrics metric monitor history",
        "class_weight": "class_weights weights weight balanced",
        "batch_sampler": "sampler",
        "augment": "augmentation augmentations data_augmentation transforms transform",
        "checkpoint": "checkpoint_dir checkpoint_path checkpoints save_path resume out_dir",
        "precision": "dtype amp fp16 bf16 mixed_precision half",
        "compile": "torch_compile jit",
        "device": "gpu cuda use_gpu use_cuda accelerator device_type gpus devices",
        "random_state": "seed random_seed rng manual_seed",
        "verbose": "verbosity progress progress_bar silent quiet",
        "Pass them to the encoder, encoder=MLP({guess}=...).": "hidden_layer_sizes activation "
        "dropout batch_norm standardize softness",
        "Pass encoder=MLP(hidden_layer_sizes=...).": "hidden_sizes hidden_dims hidden_units "
        "hidden_size hidden_dim hidden_layers layers n_hidden n_layers",
        "Pass encoder=MLP(activation=...).": "nonlinearity activation_function",
        "Pass it to the encoder, encoder=ConvNet({guess}=...).": "widths n_pools readout "
        "image_shape",
        "Pass it to the encoder, encoder=ResNet({guess}=...).": "depth width",
        "Pass encoder=Pretrained(module, {guess}=True).": "frozen",
        "Pass encoder=Pretrained(module, ...).": "pretrained freeze weights_path",
        "Pass it to the measure, uniformity=MHE({guess}=...).": "s s_within repulsion "
        "repulsion_scale repulsion_over n_sampled",
        "Pass uniformity=MHE(repulsion=2, repulsion_over='all', prior='train').": "prior priors "
        "logit_adjustment class_prior",
        "Pass uniformity=MHS(temperature=...).": "temperature tau",
        "Pass it to the measure, uniformity=MGD({guess}=...).": "eps",
        "This loss has no margin: proxies stand as far apart as they can. "
        "uniformity=MHE(repulsion=...) repels rows from the other classes' proxies.": "margin m "
        "scale",
        "The loss's two weights are alpha (between classes) and beta (within).": "lambda_ lam "
        "gamma loss_weight",
        "Pass optimizer=SGD(momentum=...).": "momentum nesterov",
        "Pass it to the optimizer, optimizer=AdamW({guess}=...).": "beta_1 beta_2",
        "Pass optimizer=AdamW(beta_1=..., beta_2=...).": "betas beta1 beta2",
        "Pass proxies=Learned(attached=...).": "attached detach",
        "Pass proxies=Learned(learning_rate=...).": "proxy_lr proxy_learning_rate",
        "Pass proxies=Nested(prefixes=...).": "nested prefixes matryoshka matryoshka_dims mrl "
        "truncate_dim nesting_list",
        "A fit runs in one process: torch.set_num_threads(n) sets its threads, and "
        "GridSearchCV(..., n_jobs=n) makes fits at once.": "n_jobs num_workers n_threads",
        "scikit-learn has callbacks from 1.9 on: estimator.set_callbacks(...).": "callbacks",
        "It is an argument of fit: fit(X, y, sample_weight=...).": "sample_weight sample_weights",
        "They are arguments of fit: fit(X, y, X_val=..., y_val=...).": "validation_data eval_set "
        "X_val y_val",
        "Pass it to the search or to cross_val_score.": "scoring cv refit",
        "It is read from y in fit; partial_fit takes classes=.": "n_classes num_classes classes",
        "It is read from X in fit.": "n_features input_dim in_features input_shape input_size "
        "n_features_in in_dim in_channels",
        "Every epoch is a new permutation of the rows; batch_sampler changes that.": "shuffle",
        "The loss is of rows and proxies: none are mined. BalancedBatches, a batch_sampler, "
        "chooses the classes of a batch.": "miner mining triplets",
    },
    "Gallery": {
        "embedder": "encoder model estimator network backbone transformer",
        "index": "backend algorithm search method",
        "n_neighbors": "k n_neighbours neighbors neighbours top_k",
        "threshold": "cutoff cut_off min_similarity",
        "unknown_label": "unknown stranger_label outlier_label novel_label",
        "temperature": "tau",
        "Nearness is the cosine, of vectors scaled to length 1.": "metric distance",
    },
    "fit": {
        "sample_weight": "weight weights sample_weights",
        "Pass X_val=... and y_val=....": "validation_data eval_set val_data validation "
        "X_valid y_valid X_test y_test",
        "It is a parameter of the estimator, max_epochs.": "epochs n_epochs max_iter max_epochs",
        "It is a parameter of the estimator.": "batch_size learning_rate verbose early_stopping "
        "class_weight random_state device",
        "It is a parameter of the estimator, learning_rate.": "lr",
        "scikit-learn has callbacks from 1.9 on: estimator.set_callbacks(...).": "callbacks",
    },
    "MLP": {
        "hidden_layer_sizes": "hidden_sizes hidden_dims hidden_units hidden_size hidden_dim "
        "hidden_layers hidden layers sizes width widths units layer_sizes n_hidden",
        "activation": "nonlinearity act activation_function",
        "dropout": "p drop dropout_rate p_dropout",
        "batch_norm": "batchnorm bn norm normalization",
        "standardize": "normalize scale standardise",
        "Pass hidden_layer_sizes, one number a layer.": "depth n_layers num_layers",
    },
    "ConvNet": {
        "widths": "channels n_channels hidden_layer_sizes filters n_filters width hidden_channels",
        "n_pools": "pools pooling n_pool",
        "readout": "pool head global_pool",
        "image_shape": "input_shape shape image_size img_size",
        "standardize": "normalize standardise mean std",
        "Pass widths, one number of channels a block.": "depth n_layers n_blocks num_layers",
    },
    "ResNet": {
        "depth": "n_layers layers num_layers n_blocks",
        "width": "widths channels base_width filters",
        "image_shape": "input_shape shape image_size img_size",
        "standardize": "normalize standardise mean std",
        "Pass encoder=Pretrained(module): ResNet starts from random weights.": "pretrained weights",
    },
    "Pretrained": {
        "module": "model backbone net network encoder",
        "learning_rate": "lr backbone_lr",
        "frozen": "freeze frozen_backbone trainable requires_grad",
        "views": "n_views passes n_passes",
        "standardize": "normalize standardise mean std",
        "image_shape": "input_shape shape image_size img_size",
    },
    "Uniformity": {
        "s": "s_between power exponent p",
        "s_within": "within s_in s_w",
        "temperature": "t tau T",
        "eps": "epsilon gamma sigma scale",
        "repulsion": "margin repel",
        "n_sampled": "n_samples n_proxies sampled",
        "It is a parameter of the estimator and of HUGLoss.": "alpha beta",
    },
    "HUGLoss": {
        "uniformity": "measure loss energy kind",
        "attached": "detach detached",
        "The proxies are an argument of the call: loss(embeddings, labels, proxies).": "proxies "
        "n_classes num_classes embedding_size n_components",
        "Pass it to the measure, HUGLoss(MHE({guess}=...)).": "s s_within repulsion "
        "repulsion_over prior n_sampled",
        "Pass HUGLoss(MHS(temperature=...)).": "temperature",
        "This loss has no margin: HUGLoss(MHE(repulsion=...)) repels rows from the other classes' "
        "proxies.": "margin",
    },
    "AdamW": {
        "It is a parameter of the estimator, learning_rate.": "lr learning_rate",
        "It is a parameter of the estimator, weight_decay.": "wd weight_decay",
        "beta_1": "beta1",
        "beta_2": "beta2",
        "Pass beta_1=... and beta_2=....": "betas",
        "eps": "epsilon",
        "Pass optimizer=functools.partial(torch.optim.AdamW, amsgrad=True).": "amsgrad",
    },
    "SGD": {
        "It is a parameter of the estimator, learning_rate.": "lr learning_rate",
        "It is a parameter of the estimator, weight_decay.": "wd weight_decay",
        "Momentum is Nesterov's wherever it is above 0.": "nesterov dampening",
    },
    "Nested": {"prefixes": "dims dimensions widths nesting_list matryoshka_dims n_components"},
    "Learned": {
        "learning_rate": "lr proxy_lr",
        "attached": "detach detached attach",
        "momentum": "ema moving_average",
    },
    "Checkpoint": {
        "folder": "path dir directory dirname dirpath file filename",
        "every_epochs": "epochs every interval every_n_epochs save_freq",
        "every_seconds": "seconds every_s period interval_seconds",
    },
    "BalancedBatches": {
        "classes": "n_classes num_classes classes_per_batch P p",
        "samples": "n_samples m samples_per_class K k m_per_class",
        "A batch has classes * samples rows.": "batch_size",
    },
}

# Parameter to guesses at its value and what to pass, where VALUE is what was passed. Texts are
# compared in lower case and by their letters and digits alone, other values by how Python writes
# them, then by their type; "..." is any other value.
VALUES: dict[str, dict[str, str]] = {
    "encoder": {
        "cnn conv convnets convolutional": "'convnet'",
        "nn fc linear dense perceptron": "'mlp'",
        "resnet18 resnet34 resnet50": "ResNet(depth=18), 34 or 50",
        "None True default": "'auto'",
        "tuple list int": "MLP(hidden_layer_sizes=VALUE)",
        "...": "'auto', MLP(...), a torch module or a function that returns one",
    },
    "n_components": {"auto simplex all full": "None", "...": "None, or a number such as 16"},
    "uniformity": {
        "energy hyperspherical": "'mhe'",
        "separation margin": "'mhs'",
        "gram determinant logdet": "'mgd'",
        "None auto hug": "'mhe'",
        "...": "'mhe'",
    },
    "proxies": {
        "fixed etf neuralcollapse auto None": "'optimal'",
        "simplex": "'optimal', which is the simplex wherever it fits",
        "learnable trainable train": "'learned'",
        "nested matryoshka": "Nested(prefixes=(16, 32))",
        "random": "skhug.proxies.random_proxies(n_classes, n_components), or 'learned', which "
        "starts there",
        "...": "'optimal'",
    },
    "optimizer": {
        "adam None auto": "'adamw'",
        "momentum nesterov": "'sgd'",
        "rmsprop": "torch.optim.RMSprop",
        "adagrad": "torch.optim.Adagrad",
        "nadam": "torch.optim.NAdam",
        "radam": "torch.optim.RAdam",
        "...": "'adamw', or what makes an optimizer, such as "
        "functools.partial(torch.optim.RMSprop, alpha=0.9)",
    },
    "learning_rate": {"...": "3e-3"},
    "schedule": {
        "None none off fixed": "'constant'",
        "cos cosineannealing": "'cosine'",
        "step exponential onecycle plateau": "'cosine', 'linear' or a function of the share of "
        "the training done, such as lambda done: 0.1 ** done",
        "...": "'cosine'",
    },
    "weight_decay": {"auto True": "None", "False": "0", "...": "None, or a number such as 0.5"},
    "batch_size": {
        "-1 full all 0": "len(X), for all rows in one batch, or 'auto'",
        "None": "'auto'",
        "...": "'auto'",
    },
    "max_epochs": {"-1 0 None": "'auto'", "...": "'auto'"},
    "validation_fraction": {"...": "0.1, or early_stopping=False, which sets no rows aside"},
    "n_iter_no_change": {"None": "10, or early_stopping=False, which never stops early"},
    "tol": {"None False": "0"},
    "early_stopping": {"None": "False", "...": "True, with n_iter_no_change=10 epochs of patience"},
    "track": {"True all": "'nc'", "None False": "()", "...": "'nc'"},
    "class_weight": {
        "balancedsubsample auto True": "'balanced'",
        "False uniform": "None",
        "...": "{label: weight, ...}, a dict with every class",
    },
    "batch_sampler": {"False": "None", "...": "BalancedBatches(classes=32, samples=4)"},
    "augment": {
        "flip horizontalflip fliplr": "skhug.augment.HorizontalFlip()",
        "crop randomcrop": "skhug.augment.RandomCrop()",
        "cutout erasing randomerasing": "skhug.augment.Cutout()",
        "rotate affine rotation": "skhug.augment.Affine()",
        "False": "None",
        "...": "skhug.augment.Compose([RandomCrop(), HorizontalFlip()])",
    },
    "warm_start": {"None": "False"},
    "checkpoint": {"True": "'checkpoints', a folder", "False": "None", "...": "'checkpoints'"},
    "precision": {
        "fp16 float16 half 16 16mixed bf16 bf16mixed amp mixed True": "'bfloat16'",
        "torch.bfloat16 torch.float16": "'bfloat16'",
        "fp32 single 32 torch.float32 full": "'float32'",
        "fp64 double 64 torch.float64": "'float64'",
        "None False": "'auto'",
        "...": "'auto'",
    },
    "compile": {"None": "False"},
    "device": {
        "gpu True": "'cuda', or 'auto'",
        "None": "'auto'",
        "int": "'cuda:VALUE'",
        "...": "'auto'",
    },
    "random_state": {
        "Generator": "0, or a numpy.random.RandomState: scikit-learn takes no Generator",
        "...": "0",
    },
    "verbose": {"None": "0"},
}

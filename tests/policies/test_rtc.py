"""ACT-RTC: which step is which, one forward for all delays, where gradients go, what is refused."""

import pytest
import torch
from tiny_policies import ACTIONS, normalised_batch, tiny_rtc, tiny_rtc_config
from torch import Tensor

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.policies.act.presets import features
from act_eval.policies.act.transformer import Decoder
from act_eval.policies.rtc import DELAY, ACTRTCPolicy

PLACES = ("encoder", "decoder")
WINDOWS = ("shifted", "same")


def ramp_batch(policy: ACTRTCPolicy, rows: int = 4, padded: int = 0) -> dict[str, Tensor]:
    """A batch whose action of step t + j is j in row 0, 100 + j in row 1, and so on."""
    config = policy.config
    batch = normalised_batch(config, rows)
    steps = torch.arange(config.target_steps, dtype=torch.float32)
    batch["action"] = (100 * torch.arange(rows)[:, None] + steps)[..., None].expand(-1, -1, ACTIONS).clone()
    batch["action_is_pad"] = steps.expand(rows, -1) >= config.target_steps - padded
    return batch


def grid(policy: ACTRTCPolicy, rows: int = 4) -> Tensor:
    return torch.arange(policy.config.delays).expand(rows, -1)


def test_target_k_of_delay_d_is_step_d_plus_k_in_the_shifted_window() -> None:
    policy = tiny_rtc(rtc_window="shifted")
    targets_BKCA, valid_BKC = policy.targets(ramp_batch(policy), grid(policy))
    for row in range(4):
        for delay in range(4):
            wanted = 100 * row + delay + torch.arange(5)
            assert torch.equal(targets_BKCA[row, delay, :, 0], wanted.float())
    assert bool(valid_BKC.all())


def test_target_k_is_step_k_in_the_same_window_and_the_first_d_do_not_count() -> None:
    policy = tiny_rtc(rtc_window="same")
    targets_BKCA, valid_BKC = policy.targets(ramp_batch(policy), grid(policy))
    assert torch.equal(targets_BKCA[2, 3, :, 0], 200 + torch.arange(5.0))
    for delay in range(4):
        assert valid_BKC[0, delay].tolist() == [k >= delay for k in range(5)]


def test_padding_moves_with_the_window() -> None:
    policy = tiny_rtc(rtc_window="shifted")  # steps 0 … 7, of which 5, 6, 7 lie beyond the end
    _, valid_BKC = policy.targets(ramp_batch(policy, padded=3), grid(policy))
    for delay in range(4):
        assert valid_BKC[0, delay].tolist() == [delay + k < 5 for k in range(5)]


def test_a_single_delay_may_differ_from_row_to_row() -> None:
    policy = tiny_rtc()
    delay_BK = torch.tensor([[2], [0], [3], [1]])
    targets_BKCA, _ = policy.targets(ramp_batch(policy), delay_BK)
    assert targets_BKCA[:, 0, 0, 0].tolist() == [2, 100, 203, 301]


@pytest.mark.parametrize("place", PLACES)
def test_slot_j_of_the_prefix_is_step_j_and_is_read_below_the_delay_only(place: str) -> None:
    """The training prefix and the one at inference have the same index, found by moving one step at a time."""
    policy = tiny_rtc(rtc_prefix_in=place).eval()
    batch = normalised_batch(policy.config)
    prefix = batch["action"][:, :3]
    for delay in range(4):
        delays = torch.full((4,), delay)
        chunk = policy.predict_action_chunk(batch, delays, prefix)
        assert torch.allclose(chunk, _trained(policy, batch, delay), atol=1e-5)
        for slot in range(3):
            moved = prefix.clone()
            moved[:, slot] += 1
            change = (policy.predict_action_chunk(batch, delays, moved) - chunk).abs().max()
            assert (change > 1e-4) == (slot < delay), (delay, slot)


def _trained(policy: ACTRTCPolicy, batch: dict[str, Tensor], delay: int) -> Tensor:
    with torch.no_grad():
        return policy.model(batch, grid(policy), batch["action"][:, :3])[0][:, delay]


def test_an_oracle_fitted_on_a_ramp_continues_it_at_t_plus_d() -> None:
    """Trained on one ramp, the chunk of delay d begins with the value of step t + d: no off-by-one anywhere."""
    policy = tiny_rtc(use_vae=False, input_features=features({}, state=None)).train()
    batch = ramp_batch(policy, rows=1)
    batch["action"] = batch["action"] / 4
    optimiser = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for _ in range(300):
        optimiser.zero_grad()
        loss, _ = policy(batch)
        loss.backward()
        optimiser.step()
    for delay in range(4):
        chunk = policy.predict_action_chunk(batch, torch.tensor([delay]), batch["action"][:, :3])
        assert torch.allclose(chunk[0, :, 0] * 4, delay + torch.arange(5.0), atol=0.4), delay


@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("place", PLACES)
def test_all_delays_at_once_equal_one_forward_per_delay(place: str, window: str, use_vae: bool) -> None:
    policy = tiny_rtc(rtc_prefix_in=place, rtc_window=window, use_vae=use_vae).train()
    batch = normalised_batch(policy.config)
    noise = torch.randn(4, policy.config.latent_dim, generator=torch.Generator().manual_seed(3))
    prefix = batch["action"][:, :3]
    packed, _ = policy.model(batch, grid(policy), prefix, noise)
    for delay in range(4):
        alone, _ = policy.model(batch, torch.full((4, 1), delay), prefix, noise)
        assert torch.allclose(packed[:, delay], alone[:, 0], atol=1e-5)
    assert (packed[:, 0] - packed[:, 3]).abs().max() > 1e-2


@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_the_flag_changes_nothing_on_the_same_delays(place: str, use_vae: bool) -> None:
    """Loss and every gradient of the all-delays path equal those of the other path when it is given all delays."""
    weights = (1.0, 2.0, 0.5, 3.0)
    losses, gradients = [], []
    for every in (True, False):
        policy = tiny_rtc(rtc_prefix_in=place, use_vae=use_vae, rtc_train_all_delays=every, rtc_delay_weights=weights)
        batch = normalised_batch(policy.config)
        torch.manual_seed(4)  # the latent's noise
        loss, _ = policy.train()(batch, None if every else grid(policy))
        loss.backward()
        losses.append(loss)
        gradients.append({n: p.grad for n, p in policy.named_parameters()})
    assert torch.equal(losses[0], losses[1])
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


@pytest.mark.parametrize("place", PLACES)
def test_all_delays_are_the_mean_of_the_single_ones(place: str) -> None:
    policy = tiny_rtc(rtc_prefix_in=place, use_vae=False).train()
    batch = ramp_batch(policy)
    alone = [policy(batch, torch.full((4, 1), delay))[0] for delay in range(4)]
    loss, metrics = policy(batch)
    assert torch.allclose(loss, torch.stack(alone).mean(), rtol=1e-5)
    for delay in range(4):
        assert torch.allclose(metrics[f"l1_delay_{delay}"], alone[delay].detach(), rtol=1e-5)


def test_the_loss_divides_by_what_counts() -> None:
    policy = tiny_rtc(use_vae=False).eval()
    batch = normalised_batch(policy.config)
    with torch.no_grad():
        predicted, _ = policy.model(batch, grid(policy), batch["action"][:, :3])
    targets, valid = policy.targets(batch, grid(policy))
    assert not bool(valid.all())
    assert torch.allclose(policy(batch)[0], (predicted - targets).abs()[valid].mean(), atol=1e-6)


def test_a_delay_of_weight_zero_leaves_the_loss() -> None:
    policy = tiny_rtc(use_vae=False, rtc_delay_weights=(0.0, 0.0, 1.0, 0.0)).eval()
    batch = normalised_batch(policy.config)
    loss, metrics = policy(batch)
    assert torch.allclose(loss, metrics["l1_delay_2"], atol=1e-6)


@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_a_gradient_reaches_every_parameter(place: str, use_vae: bool) -> None:
    policy = tiny_rtc(rtc_prefix_in=place, use_vae=use_vae).train()
    for parameter in policy.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.1)
    policy(normalised_batch(policy.config))[0].backward()
    dead = {n for n, p in policy.named_parameters() if p.grad is None or not bool(p.grad.any())}
    # Queries begin as zeros: without a prefix among them, layer 0's self-attention has one value to answer with.
    alike = {"model.decoder.layers.0.self_attn.in_proj_weight"} if place == "encoder" else set()
    assert dead == alike | (set() if use_vae else {"model.encoder_latent_input_proj.weight"})


def test_no_gradient_from_the_prefix_beyond_the_delay() -> None:
    """Delay 0 alone must not train what stands for committed commands."""
    policy = tiny_rtc(use_vae=False).train()
    policy(normalised_batch(policy.config), torch.zeros(4, 1, dtype=torch.int64))[0].backward()
    weight = policy.model.prefix_input_proj.weight
    assert weight.grad is None or not bool(weight.grad.any())
    assert bool(policy.model.prefix_pad_embed.grad.any())


@pytest.mark.parametrize("place", PLACES)
def test_cameras_and_latent_run_once_per_sample(place: str) -> None:
    policy = tiny_rtc(rtc_prefix_in=place).train()
    seen: dict[str, tuple[int, ...]] = {}
    for name in ("backbone", "vae_encoder", "encoder"):
        module = getattr(policy.model, name)
        module.register_forward_hook(lambda _, inputs, out, name=name: seen.update({name: tuple(inputs[0].shape[:2])}))
    policy(normalised_batch(policy.config))
    tokens = 3 + 2 * 2 * 3  # latent, state, coordinates; two cameras of 2 × 3
    assert seen["backbone"] == (8, 3)  # 2 cameras × 4 samples
    assert seen["vae_encoder"] == (4, 7)  # class token, state, 5 actions of delay 0
    assert seen["encoder"] == ((16, tokens + 3) if place == "encoder" else (4, tokens))


def test_the_vae_encodes_the_window_of_delay_zero() -> None:
    policy = tiny_rtc().train()
    batch = normalised_batch(policy.config)
    noise = torch.zeros(4, policy.config.latent_dim)
    latent, _ = policy.model.latent(batch, noise)
    later = batch["action"].clone()
    later[:, 5:] += 1
    assert torch.equal(policy.model.latent(batch | {"action": later}, noise)[0], latent)
    later[:, 4] += 1
    assert not torch.equal(policy.model.latent(batch | {"action": later}, noise)[0][0], latent[0])


def test_one_random_delay_per_sample_covers_all_delays() -> None:
    policy = tiny_rtc(rtc_train_all_delays=False).train()
    torch.manual_seed(0)
    drawn = torch.cat([policy._delays(4) for _ in range(50)])
    assert drawn.shape == (200, 1)
    assert set(drawn.flatten().tolist()) == {0, 1, 2, 3}
    _, metrics = policy(normalised_batch(policy.config))
    assert set(metrics) == {"l1_loss", "kld_loss"}


@pytest.mark.parametrize("every", [True, False])
def test_evaluation_mode_measures_every_delay(every: bool) -> None:
    policy = tiny_rtc(rtc_train_all_delays=every).eval()
    batch = normalised_batch(policy.config)
    loss, metrics = policy(batch)
    assert set(metrics) == {"l1_loss", *(f"l1_delay_{d}" for d in range(4))}
    assert torch.equal(loss, policy(batch)[0])


@pytest.mark.parametrize("place", PLACES)
def test_training_lowers_the_loss_of_every_delay(place: str) -> None:
    policy = tiny_rtc(rtc_prefix_in=place, use_vae=False)
    batch = normalised_batch(policy.config)
    before = policy.eval()(batch)[1]
    optimiser = torch.optim.Adam(policy.parameters(), lr=1e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss, _ = policy.train()(batch)
        loss.backward()
        optimiser.step()
    after = policy.eval()(batch)[1]
    assert all(after[f"l1_delay_{d}"] < 0.7 * before[f"l1_delay_{d}"] for d in range(4))


@pytest.mark.parametrize(
    ("delay", "prefix", "error", "message"),
    [
        (
            torch.full((4,), 4),
            torch.zeros(4, 3, 6),
            UsageError,
            r"estimated delays are \[4, 4, 4, 4\]; .* trained for 0 to 3",
        ),
        (torch.full((4,), -1), torch.zeros(4, 3, 6), UsageError, "trained for 0 to 3"),
        (
            torch.full((4,), 2),
            None,
            UsageError,
            r"estimated delays are \[2, 2, 2, 2\], but no committed prefix was given",
        ),
        (
            torch.zeros(3, dtype=torch.int64),
            torch.zeros(4, 3, 6),
            FeatureMismatch,
            r"delay has shape \(3,\); needed is \(4,\)",
        ),
        (
            torch.full((4,), 2),
            torch.zeros(4, 2, 6),
            FeatureMismatch,
            r"prefix has shape \(4, 2, 6\); needed is \(4, 3, 6\)",
        ),
    ],
)
def test_a_delay_or_prefix_that_does_not_fit_is_refused(
    delay: Tensor, prefix: Tensor | None, error: type[Exception], message: str
) -> None:
    policy = tiny_rtc()
    with pytest.raises(error, match=message):
        policy.predict_action_chunk(normalised_batch(policy.config), delay, prefix)


def test_the_training_window_is_longer_when_shifted() -> None:
    assert tiny_rtc_config(rtc_window="shifted").target_steps == 8
    assert tiny_rtc_config(rtc_window="same").target_steps == 5


@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_decoder_gives_the_same_without_the_tokens_that_nobody_reads(pre_norm: bool) -> None:
    torch.manual_seed(0)
    decoder = Decoder(tiny_rtc_config(pre_norm=pre_norm, n_decoder_layers=2)).double().eval()
    width = decoder.norm.weight.shape[0]
    tokens, positions = torch.randn(2, 2, 3, 9, width, dtype=torch.float64)
    memory, memory_positions = torch.randn(2, 2, 5, width, dtype=torch.float64)
    whole = decoder(tokens, positions, memory, memory_positions)
    for first in (0, 4):
        rest = decoder(tokens, positions, memory, memory_positions, slice(first, None))
        assert rest.shape[2] == 9 - first
        torch.testing.assert_close(rest, whole[:, :, first:], rtol=0, atol=1e-12)


def test_noise_leads_training_prefixes_astray_and_nothing_else() -> None:
    noisy = tiny_rtc(rtc_prefix_noise=1.0)
    plain = tiny_rtc(rtc_prefix_noise=0.0)
    plain.load_state_dict(noisy.state_dict())
    batch = normalised_batch(noisy.config, 64)
    seen: list[Tensor] = []
    noisy.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    noisy.train()(batch)
    clean = batch["action"][:, :3]
    astray = seen.pop() - clean
    torch.testing.assert_close(astray[:, 0], astray[:, 2] / 3, rtol=1e-4, atol=1e-5)  # a ramp
    torch.testing.assert_close(astray[:, 1], astray[:, 2] * 2 / 3, rtol=1e-4, atol=1e-5)
    assert 0.45 < float(astray[:, 2].std()) < 0.72  # of a uniform amount times a normal direction: 1 / √3
    for mode in (noisy.eval(), plain.train()):
        loss = mode(batch, grid(mode, 64))[0]
        torch.testing.assert_close(loss, plain.eval()(batch, grid(plain, 64))[0], rtol=0, atol=0)
    with pytest.raises(UsageError, match="rtc_prefix_noise is -1; it must be finite and at least 0"):
        tiny_rtc_config(rtc_prefix_noise=-1)


def test_a_sample_trains_its_own_delay_and_a_prefix_of_the_policy_stays_as_it_is() -> None:
    policy = tiny_rtc(rtc_prefix_noise=1.0, use_vae=False).train()
    batch = normalised_batch(policy.config)
    given = torch.tensor([0, 3, 2, 1])
    seen = {}

    def spy(module, arguments) -> None:
        seen["delay"], seen["prefix"] = arguments[1], arguments[2]

    policy.model.register_forward_pre_hook(spy)
    loss, metrics = policy(batch | {DELAY: given})
    assert seen["delay"].tolist() == given[:, None].tolist()
    assert torch.equal(seen["prefix"], batch["action"][:, :3])
    exact, _ = tiny_rtc(use_vae=False).train()(batch, given[:, None])
    assert torch.equal(loss, exact)
    assert "l1_delay_0" not in metrics
    policy(batch | {DELAY: torch.tensor([-1, 3, -1, 1])})
    assert seen["delay"][[1, 3], 0].tolist() == [3, 1]
    assert not torch.equal(seen["prefix"][[0, 2]], batch["action"][[0, 2], :3])
    assert torch.equal(seen["prefix"][[1, 3]], batch["action"][[1, 3], :3])


def test_dropped_prefixes_and_hidden_dimensions_are_not_seen() -> None:
    dropping, plain = tiny_rtc(rtc_prefix_dropout=1.0, use_vae=False), tiny_rtc(use_vae=False)
    batch = normalised_batch(plain.config)
    delays = torch.tensor([[3], [2], [1], [3]])
    seen: list[Tensor] = []
    dropping.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[4]))
    assert not torch.equal(dropping.train()(batch, delays)[0], plain.train()(batch, delays)[0])
    assert seen.pop().tolist() == [[0]] * 4
    assert torch.equal(dropping.eval()(batch, delays)[0], plain.eval()(batch, delays)[0])  # in training alone
    hiding = tiny_rtc(rtc_prefix_hidden=(1,), use_vae=False).eval()
    before, prefix = hiding.model(batch, delays, batch["action"][:, :3])[0], batch["action"][:, :3].clone()
    prefix[:, :, 1] += 5
    assert torch.equal(hiding.model(batch, delays, prefix)[0], before)
    prefix[:, 0, 0] += 5
    assert not torch.equal(hiding.model(batch, delays, prefix)[0], before)
    for wrong, message in (
        ({"rtc_prefix_dropout": 1.5}, "rtc_prefix_dropout is 1.5; it is a share of the samples, 0 to 1"),
        ({"rtc_prefix_hidden": (7,)}, r"rtc_prefix_hidden is \(7,\); action dimensions are 0 to"),
    ):
        with pytest.raises(UsageError, match=message):
            tiny_rtc_config(**wrong)

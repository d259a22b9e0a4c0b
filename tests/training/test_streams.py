"""Random streams of a run: apart by purpose, restored anywhere, reproducible on each device."""

from __future__ import annotations

import hashlib

import torch

from vae_ablation.training.streams import CPU, RunStreams, drawing_device


def drawn(streams: RunStreams) -> list[torch.Tensor]:
    return [
        streams.order(50),
        streams.normals(20, 2, 3),
        streams.uniforms("binarize", 4, 5),
        streams.uniforms("dropout", 4, 5),
    ]


def test_a_gpu_draws_its_own_numbers_and_every_other_device_has_those_of_the_cpu() -> None:
    devices = [torch.device(name) for name in ("cpu", "mps", "cuda", "cuda:1")]
    assert list(map(drawing_device, devices)) == [CPU, CPU, *devices[2:]]


def test_each_purpose_has_a_stream_that_the_seed_alone_decides() -> None:
    streams, again, other = RunStreams(3, CPU), RunStreams(3, CPU), RunStreams(4, CPU)
    first = drawn(streams)
    again.uniforms("dropout", 7)  # other purposes do not notice
    assert torch.equal(again.order(50), first[0])
    assert torch.equal(again.normals(20, 2, 3), first[1])
    assert torch.equal(again.uniforms("binarize", 4, 5), first[2])
    assert not torch.equal(again.uniforms("dropout", 4, 5), first[3])
    assert not torch.equal(first[2], first[3])
    assert all(not torch.equal(*pair) for pair in zip(drawn(other), first, strict=True))


def test_the_noise_of_a_run_is_torchs_from_the_seed_of_its_purpose() -> None:
    digest = hashlib.sha256(b"noise/3").digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    expected = torch.randn(20, 2, 3, generator=generator)
    assert torch.equal(RunStreams(3).normals(20, 2, 3), expected)


def test_a_state_repeats_the_order_and_the_block_and_goes_on_with_the_uniforms() -> None:
    streams = RunStreams(0)
    drawn(streams)
    order, block = streams.order(50), streams.normals(20, 2, 3)
    streams.uniforms("binarize", 9)
    state = streams.state()
    following = streams.uniforms("binarize", 4), streams.uniforms("dropout", 4)
    other = RunStreams(1)
    other.restore(state)
    assert torch.equal(other.order(50), order)
    assert torch.equal(other.normals(20, 2, 3), block)
    assert torch.equal(other.uniforms("binarize", 4), following[0])
    assert torch.equal(other.uniforms("dropout", 4), following[1])


def test_fixed_normals_are_the_same_whenever_they_are_asked_for() -> None:
    streams = RunStreams(0)
    first = streams.fixed("validation", 5, 2)
    drawn(streams)
    assert torch.equal(streams.fixed("validation", 5, 2), first)
    assert not torch.equal(streams.fixed("another", 5, 2), first)

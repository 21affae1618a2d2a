import torch

from liveness_training.models.temporal import TemporalHead


def head(**sizes):
    torch.manual_seed(0)
    return TemporalHead(6, **sizes).eval()


def test_a_clip_gets_one_label():
    assert head()(torch.randn(3, 8, 6)).shape == (3, 2)


def test_sizes_are_the_papers():
    lstm = TemporalHead(2048).lstm
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bidirectional) == (2048, 256, 1, False)


def test_order_of_frames_matters_and_every_frame_counts():
    clip = torch.randn(1, 8, 6)
    made = head(hidden=4)
    with torch.no_grad():
        expected = made(clip)
        assert not torch.allclose(made(clip.flip(1)), expected)
        for place in range(8):
            changed = clip.clone()
            changed[0, place] += 1
            assert not torch.equal(made(changed), expected)


def test_clips_of_a_batch_do_not_see_each_other():
    clips = torch.randn(3, 8, 6)
    made = head()
    with torch.no_grad():
        torch.testing.assert_close(made(clips)[1:2], made(clips[1:2]))


def test_classifier_judges_the_state_after_the_last_frame():
    made, clips = head(), torch.randn(2, 8, 6)
    with torch.no_grad():
        _, (hidden, _) = made.lstm(clips)
        torch.testing.assert_close(made.summarise(clips), hidden[0])
        torch.testing.assert_close(made(clips), made.classifier(hidden[0]))

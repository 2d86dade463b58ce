from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from edgeexit.dmpo.data.load import load_tune_data
from edgeexit.dmpo.data.normalize import Normalize, build_normalize
from edgeexit.errors import InputError


def test_pixels_are_scaled_a_channel():
    image = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 1.0)
    out = Normalize(mean, std)(image)
    shape = (1, 3, 1, 1)
    expected = (image / 255 - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


def test_a_grey_image_feeds_every_channel():
    image = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    out = Normalize((0.5, 0.0), (0.5, 1.0))(image)
    torch.testing.assert_close(out, torch.tensor([[[[-1.0, 1.0]], [[0.0, 1.0]]]]))


class TestBuild:
    @pytest.fixture
    def data(self, tune_config, write_npz):
        pixels = np.zeros((20, 1, 4, 4), dtype=np.uint8)
        self.file = write_npz(x=pixels, y=np.arange(20) % 2)
        return load_tune_data(tune_config(self.file))

    def scaled(self, config, data, channels):
        return build_normalize(config, data, channels)(torch.zeros(1, 1, 1, 1)).flatten().tolist()

    def test_a_half_where_nothing_is_said(self, tune_config, data):
        assert self.scaled(tune_config(self.file), data, 3) == [-1.0, -1.0, -1.0]

    def test_the_config_comes_before_the_backbone(self, tune_config, data, tmp_path):
        said = {"image_mean": [0.2], "image_std": [0.1]}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
        config = tune_config(self.file, source=tmp_path)
        assert self.scaled(config, data, 1) == pytest.approx([-2.0])
        config = tune_config(self.file, source=tmp_path, std=(0.4,))
        assert self.scaled(config, data, 1) == pytest.approx([-0.5])

    @pytest.mark.parametrize("text", ["{", "[]", '{"image_mean": "no"}', '{"image_std": [0]}'])
    def test_a_damaged_file_beside_the_weights_is_left_out(self, tune_config, data, tmp_path, text):
        (tmp_path / "preprocessor_config.json").write_text(text)
        assert self.scaled(tune_config(self.file, source=tmp_path), data, 1) == [-1.0]

    def test_a_backbone_that_takes_pixels_as_shares(self, tune_config, data, tmp_path):
        (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
        assert self.scaled(tune_config(self.file, source=tmp_path), data, 2) == [0.0, 0.0]

    def test_numbers_that_do_not_fit_the_channels(self, tune_config, data):
        with pytest.raises(InputError, match=r"data\.mean has 2 numbers.*takes 3 channels"):
            build_normalize(tune_config(self.file, mean=(0.1, 0.2)), data, 3)

    def test_ready_inputs_are_not_scaled(self, tune_config, write_npz):
        file = write_npz(x=np.zeros((20, 1, 4, 4), dtype=np.float32), y=np.arange(20) % 2)
        config = tune_config(file)
        assert build_normalize(config, load_tune_data(config), 1) is None

"""PNG and JPEG files, sizes, gray values, and the dispatch by content."""

import dataclasses
import io
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import dicom_images, encoding, file_kinds, images, synthetic
from pneumodet.data.images import Options
from pneumodet.dicom import jpeg, reading

HEIGHT, WIDTH = 48, 64
NAME = "DOE^JANE"


@dataclasses.dataclass
class Member:
    """A source that is no path, as a member of an archive is."""

    data: bytes
    reads: int = 0

    def __str__(self):
        return "archive.zip/exam.bin"

    def read_bytes(self):
        self.reads += 1
        return self.data


def ramp():
    """Return (48, 64) uint8, darker left than right and above than below."""
    return np.uint8(np.add.outer(2 * np.arange(HEIGHT), 2 * np.arange(WIDTH)))


def saved(image, kind, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(image):
    return np.asarray(Image.open(io.BytesIO(image.data)))


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112], tags[0x010E] = orientation, NAME  # Orientation, ImageDescription
    return tags


def png_text():
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", NAME)
    return text


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_gray_files_are_copied_bit_for_bit(kind):
    source = Member(saved(ramp(), kind))
    image = images.encode(source)
    assert (image.copied, image.image_format, image.height, image.width) == (True, kind.lower(), HEIGHT, WIDTH)
    assert image.data == source.data
    assert source.reads == 1
    np.testing.assert_array_equal(images.read_pixels(source), decoded(image))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(ramp(), "PNG", pnginfo=png_text()), id="PNG text"),
        pytest.param(saved(ramp(), "JPEG", comment=NAME), id="JPEG comment"),
        pytest.param(saved(ramp(), "JPEG", exif=exif(1)), id="JPEG Exif"),
        pytest.param(saved(ramp(), "PNG", exif=exif(1)), id="PNG Exif"),
        pytest.param(saved(ramp(), "JPEG", exif=exif(6)), id="JPEG Exif, turned"),
        pytest.param(saved(ramp(), "PNG") + NAME.encode(), id="after a PNG"),
        pytest.param(saved(ramp(), "JPEG") + NAME.encode(), id="after a JPEG"),
    ],
)
def test_names_do_not_get_into_records(data):
    assert NAME.encode() in data
    image = images.encode(Member(data))
    assert NAME.encode() not in image.data
    np.testing.assert_allclose(decoded(image).astype(int), images.read_pixels(Member(data)), atol=4)


def test_text_is_left_out_without_loss():
    for kind, extra in (("PNG", {"pnginfo": png_text()}), ("JPEG", {"comment": NAME})):
        image = images.encode(Member(saved(ramp(), kind, **extra)))
        assert image.data == saved(ramp(), kind)
        assert (image.copied, image.notes) == (True, ("text left out",))


def rgba():
    picture = np.dstack([ramp()] * 3 + [np.full((HEIGHT, WIDTH), 255, np.uint8)])
    picture[:, : WIDTH // 2, 3] = 0
    return picture


LEFT_IS_BLACK = np.where(np.arange(WIDTH) < WIDTH // 2, 0, ramp())
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("data", "expected", "notes"),
    [
        pytest.param(saved(RGB, "PNG"), RGB @ [0.299, 0.587, 0.114], ("colour to luminance",), id="RGB"),
        pytest.param(saved(rgba(), "PNG"), LEFT_IS_BLACK, ("colour to luminance",), id="RGBA"),
        pytest.param(saved(Image.fromarray(rgba()).convert("LA"), "PNG"), LEFT_IS_BLACK, ("colour to luminance",), id="gray and alpha"),
        pytest.param(saved(Image.fromarray(ramp()).convert("P"), "PNG"), ramp(), ("colour to luminance",), id="palette"),
        pytest.param(saved(Image.fromarray(ramp() > 100), "PNG"), 255 * (ramp() > 100), (), id="1 bit"),
        pytest.param(saved(ramp(), "PNG", transparency=0), ramp(), (), id="gray with a transparent value"),
        pytest.param(saved(ramp(), "PNG", exif=exif(3)), ramp()[::-1, ::-1], (), id="PNG upside down"),
        pytest.param(saved(ramp(), "JPEG", quality=100, exif=exif(6)), np.rot90(ramp(), -1), (), id="JPEG on its side"),
        pytest.param(saved(ramp(), "JPEG", quality=100, progressive=True), ramp(), (), id="progressive"),
    ],
)
def test_other_files_are_decoded(data, expected, notes):
    image = images.encode(Member(data))
    assert (image.copied, image.image_format, image.notes) == (False, "jpeg", notes)
    assert (image.height, image.width) == expected.shape
    np.testing.assert_allclose(images.read_pixels(Member(data)), expected, atol=2)


def test_16_bit_png_is_shown_between_its_percentiles():
    pixels = np.linspace(1000, 61_000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    gray = images.read_pixels(Member(saved(pixels, "PNG")))
    low, high = np.percentile(pixels, [0.5, 99.5])
    np.testing.assert_allclose(gray, np.clip((pixels - low) / (high - low), 0, 1) * 255, atol=1)
    assert images.encode(Member(saved(pixels, "PNG"))).notes == ("robust window",)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_cut_is_an_error(kind):
    data = saved(ramp(), kind)
    whole = images.read_pixels(Member(data))
    for size in range(len(data)):
        with pytest.raises(DataError, match=r"archive\.zip/exam\.bin"):
            images.encode(Member(data[:size]))
        try:  # of a PNG file that lacks only its last checksums the image is whole
            np.testing.assert_array_equal(images.read_pixels(Member(data[:size])), whole)
        except DataError:
            continue
        assert kind == "PNG"
        assert size > len(data) - 24


def test_checksum_of_a_copied_png_is_looked_at():
    data = bytearray(saved(ramp(), "PNG"))
    data[data.index(b"IDAT") + 20] ^= 1
    with pytest.raises(DataError, match="is a damaged image file"):
        images.encode(Member(bytes(data)))


@pytest.mark.parametrize("side", [(16_385, 10), (9_000, 9_000), (60_000, 60_000)])
def test_sizes_are_refused_before_anything_is_allocated(side):
    data = bytearray(saved(ramp(), "PNG"))
    data[16:24] = side[0].to_bytes(4, "big") + side[1].to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(DataError, match="are allowed|damaged image file"):
        images.encode(Member(bytes(data)))


@pytest.mark.parametrize(
    ("max_side", "height", "width"),
    [
        pytest.param(32, 24, 32, id="half"),
        pytest.param(64, 48, 64, id="same"),
        pytest.param(1000, 48, 64, id="never larger"),
        pytest.param(1, 1, 1, id="one"),
        pytest.param(50, 38, 50, id="not whole"),
    ],
)
def test_max_side(max_side, height, width):
    image = images.encode(Member(saved(ramp(), "PNG")), Options(max_side=max_side))
    assert (image.height, image.width) == decoded(image).shape == (height, width)
    assert image.scale_xy == (width / WIDTH, height / HEIGHT)
    assert image.copied == (max_side >= WIDTH)


def test_shrinking_takes_the_mean_of_the_pixels_that_fall_together():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8)
    mean = noise.reshape(32, 8, 32, 8).mean((1, 3))
    shrunk = decoded(images.encode(Member(saved(noise, "PNG")), Options(max_side=32)))
    assert np.abs(shrunk - mean).mean() < 2  # what JPEG changes; every eighth pixel would differ by 60


def test_normalize():
    dull = np.uint8(100 + ramp() // 8)
    spread = {how: decoded(images.encode(Member(saved(dull, "PNG")), Options(normalize=how))).std() for how in images.NORMALIZE}
    assert spread["none"] < 8
    assert spread["histogram"] > 60
    assert spread["none"] < spread["clahe"] < spread["histogram"]


def test_options_are_checked():
    with pytest.raises(ConfigError, match="normalize is 'hist', must be one of 'none', 'histogram', 'clahe'"):
        Options(normalize="hist")
    for side in (0, -1, 1 << 20):
        with pytest.raises(ConfigError, match="max_side"):
            Options(max_side=side)


def test_dicom_is_told_by_its_content(tmp_path):
    path = tmp_path / "exam.png"
    synthetic.write_dicom(path, ramp(), patient_id="exam", rng=np.random.default_rng(0))
    image = images.encode(Member(path.read_bytes()))
    assert image == dicom_images.encode_image(path)
    assert image.copied
    np.testing.assert_array_equal(images.read_pixels(path), reading.read_pixels(path))
    small = images.encode(path, Options(max_side=32))
    assert (small.copied, small.height, small.width, small.scale_xy) == (False, 24, 32, (0.5, 0.5))


def test_jpeg_quality_keeps_gray_values(synthetic):
    path = next(iter(sorted(synthetic.dicom_dir.iterdir())))
    image = images.encode(path, Options(max_side=128))
    exact = np.asarray(Image.fromarray(images.read_pixels(path)).resize((128, 128), Image.Resampling.BOX)).astype(int)
    assert np.abs(decoded(image) - exact).mean() < 1.5
    assert encoding.JPEG_QUALITY == 95


def test_jpeg_reader_reads_what_pillow_reads():
    for pixels, extra in (
        (ramp(), {}),
        (RGB, {"dpi": (72, 72), "comment": b"c"}),
        (ramp(), {"progressive": True}),
        (ramp(), {"restart_marker_rows": 1}),
    ):
        data = saved(pixels, "JPEG", **extra)
        read = jpeg.read(data)
        assert (read.frame.bits, read.frame.height, read.frame.width) == (8, HEIGHT, WIDTH)
        assert read.frame.components == (3 if pixels.ndim == 3 else 1)
        assert read.end == len(data)
        assert (read.copyable() is not None) == (pixels.ndim == 2 and "progressive" not in extra)
        for size in range(len(data)):
            assert jpeg.read(data[:size]) is None
    assert file_kinds.is_image(data)

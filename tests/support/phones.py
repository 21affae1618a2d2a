"""Photos as phones, cameras and browsers write them, and what public bug reports found in such files."""

import base64
import io
import os
import struct
import zlib

import av
import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from support.bombs import png_chunk
from support.pictures import encoded

_TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def heic(picture, orientation=1, *, quality=92, profile=None):
    """A HEIC that stores this picture, with the orientation in its own boxes, which is where cameras write it."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    # The encoder writes the box and turns the pixels as well, so it is given what it turns into this picture.
    image.info["exif"] = exif({6: 8, 8: 6}.get(orientation, orientation))
    image = ImageOps.exif_transpose(image)
    image.info["exif"] = exif(orientation)
    if profile is not None:
        image.info["icc_profile"] = profile
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=quality, enc_params={"preset": "ultrafast"})
    return buffer.getvalue()


def avif(picture, loss=8):
    """An AVIF whose colours are rounded as a camera rounds them; of 8 bits, half the colours, full range, BT.601.

    Pillow's encoder cuts off the fractions of both colour differences, so its pictures are 0.9 grey levels greener.
    """
    height, width = picture.shape[:2]
    luma_and_colours = picture @ _TO_YCBCR.T + (0, 128, 128)
    halved = luma_and_colours.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(frame.planes, (luma_and_colours[..., 0], halved[..., 1], halved[..., 2]), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = np.clip(np.round(values), 0, 255)
        plane.update(rows.tobytes())
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avif") as file:
        options = {"crf": str(loss), "preset": "10", "svtav1-params": "lp=1"}
        stream = file.add_stream("libsvtav1", rate=1, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 2, 6, 1, 13
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    if hasattr(os, "sched_setscheduler"):  # not on macOS
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # the encoder gives its caller real-time priority
    return buffer.getvalue()


def motion_photo(picture, clip, quality=92):
    """A JPEG with a clip behind it, as Pixel and Galaxy phones write it."""
    return encoded(picture, "JPEG", quality=quality) + clip


def mpo(picture, second, quality=92):
    """A JPEG with another picture behind it, such as a gain map."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "MPO", save_all=True, append_images=[second], quality=quality)
    return buffer.getvalue()


def xmp(value):
    """XMP that names an orientation, which browsers ignore."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{value}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def exif(value):
    """EXIF with an orientation."""
    data = Image.Exif()
    data[0x0112] = value
    return data.tobytes()


def damaged_jpeg(content, at, lost):
    """The file without `lost` bytes of its scan, from this share of it on; with none lost, cut there and ended."""
    place = int(len(content) * at)
    return content[:place] + (content[place + lost :] if lost else b"\xff\xd9")


def wide_profile(primaries):
    """An ICC profile of version 2 with the primaries of this colour space and a gamma of 2.2."""
    columns = {
        "Display P3": [(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)],
        "Adobe RGB": [(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)],
    }[primaries]

    def fixed(value):
        return struct.pack(">i", round(value * 65536))

    gamma = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256)) + bytes(2)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"wide\0" + bytes(78)
    tags = {
        b"desc": text + bytes(-len(text) % 4),
        b"cprt": b"text" + bytes(4) + b"none\0\0\0\0",
        b"wtpt": b"XYZ " + bytes(4) + b"".join(map(fixed, (0.9642, 1.0, 0.8249))),
        **{
            name: b"XYZ " + bytes(4) + b"".join(map(fixed, column))
            for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
        },
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma),
    }
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = start + len(body)
    head = struct.pack(">I", size) + bytes(4) + b"\x02\x40\0\0" + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def in_profile(picture, profile):
    """The numbers by which a picture of sRGB looks the same in another colour space."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(picture), ImageCms.createProfile("sRGB"), target))


def png_with(picture, *chunks):
    """A PNG with further chunks in front of its picture."""
    content = encoded(picture, "PNG")
    return content[:33] + b"".join(chunks) + content[33:]


def odd_pngs(picture):
    """PNG that browsers and OpenCV show, and whose metadata Pillow refuses."""
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * 3_000_000, zip=True)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", pnginfo=text)
    return {
        "a text of 3 MB": buffer.getvalue(),
        "a profile of 3 MB": png_with(picture, png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3_000_000)))),
        "a wrong checksum": png_with(picture, png_chunk(b"tEXt", b"a\0b")[:-1] + b"!"),
    }


def odd_jpegs(picture):
    """JPEG that browsers and OpenCV show, and whose metadata decoders refuse or warn of."""
    plain = encoded(picture, "JPEG", quality=92)

    def with_segment(code, body):
        return plain[:2] + bytes((0xFF, code)) + struct.pack(">H", 2 + len(body)) + body + plain[2:]

    at = plain.index(b"JFIF\0") + 5
    return {
        "an unknown revision of JFIF": plain[:at] + b"\x09" + plain[at + 1 :],
        "an unknown colour transform": with_segment(0xEE, b"Adobe" + bytes((0, 100, 0, 0, 0, 0, 7))),
        "a short JFIF segment": with_segment(0xE0, b"JFIF\0"),
        "a damaged record of Photoshop": with_segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4"),
        "one of two pieces of a profile": with_segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(50)),
        "a profile that is none": with_segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(50)),
    }


# Black, of 3,000 x 3,000 pixels, opaque, and turned by their boxes or EXIF. Encoding them takes seconds.
_LARGE = {
    # `pillow_heif`, chroma=444, quality=50, preset ultrafast, Display P3.
    "HEIC": (
        b"c-qyLPe>GT6vy9hW_KHPUB|Grh%k_nLR8v=5YeJW5eXqde+b##*;)P7&d#rK(hWKkQF!!LP(+7_2nmA@Vu!4YMwcjv4ptt6I_xPVg6aKcR@O"
        b"S$8%UzZ4)gu}-skPS-+R9qegLp7?_LxmCNBY+#q-@#TRf8oP$w+Y%|Ku~MsfwGqCs%Oh2Jd63$`Iee+m>}QmIqH9Y8yPb7*y6R%W0LuO7~ed"
        b"4D9mn{Z(I7&0ScMmMaQWD+@8;y#`b+_j)WD)U@80`K>^Fl?N=gt2`rqM^LgBcUf{_~9)t12m{<jA%}=IP*LSs6L@0GOMIA=<Dod>{rJmbVgt"
        b"(v2$0)8)xv$VkFt3qk~OKuYNg;F<L*H6J6=<R!rxsVHX_X*qA0;@)wrEvKC!u@KA5-$y29WSC=efj0#xOzP$_T^|k}TTTRX!l^rSLl{SQfEn"
        b"~+}>*KDFI*q!?!K6^jb~X(MdP3@Kpl|!k@xeaS(=v8A&~s8}1N~a+%Cn?J$9c|#zih5q^0!>kF8cpnt!1@F)w!!50ro%hJa48tcjP(1<0L@s"
        b"Y;~?3o7`9ru<+El;EYus#gx4Oe;UiW@KI4&XWdM2fi8H7`+Hy0<OZzaj_s<xu(%`h+`@&m@=`Hiu`7xixpo}~Te)NAD~^Pb!*a^k2t%}URxX"
        b"2!*Y>rusiV!eK6K5#+Vkk)8g|!7df(5-Pt2cv8Qc76!QaT_AG4!VFT#c3`*0&<#D;jN0A+g!Tp0=hCznF3a+uDlSuz`KBBQY+9bKe1qm7Q<B"
        b"cs}3I{KcB)|AL-Z3`Wx=UTf=M(ZAs(KtPU_-8U&-%dyAb*-m&D?x8T;wBxXC(zJCN9iqSn4qKd&#x~2BXp9EPXA-HQC|;KFRur>KDjn_;h`c"
        b"H9G?dUV7EMy17jPd504np;MDOGg0jzn"
    ),
    # The same with 10 bits and an opaque alpha.
    "deep HEIC": (
        b"c-qyNUq}=|7{I^Ty*uy!Kkv?hhzw212hT8&>!B+xd`PILf<Qd??!2j6Z(UD0p$8?hf*yQR$|B-|5(x<jlZY#XiU@l2A<2iJ9(wRmRJdk#y~@"
        b"J)7EY>RZ|9qt-?#gHGjrd!3;^s&W`~qig64n~nI@aKEYnyLK$wsd*%;`hIu%c=n=&X=%EB+@Bu!@|F0@5K1i~fZnO*}}kAlE!`+BLT;vu70@"
        b"#jlDP{V#5l=ddI79S0=MnY3$OlnYSf-RlG@12C}oybw`8E%DUW!O|F_o$*Otj<wI%CNpmOt+PotW2D2;n3^~Y!uhl06bzB)2NCPCn**=AZi4"
        b"A^6b12jj^%D<AiJ-7=uO=bh;1JK3=M;t$kN$JvPDzcJmvtb~7Do8!0H^uBLtLRh3dEt@cXk9P4+1WtepZXup!sC&DqO|G=xz9MvYnZnv|_M%"
        b"7GK)C8HTeBK6sIB|Qm<iy4{PH^HUCmOyxQ5q<imxmoM78ahI&wt84one-WBELa3cfi6N=)3IKCswzMaI5NK1G!e-8c=&9vXbbDq!NQt<WRWj"
        b"aD)xfctl&G{Zx@lyGa0I84*O&l~E8ZS4Hb}CIHk^HIdvT+)OjgIc<BmrFg%jZ7bID2IP2*?LX_0dNO^g>ef<t{%ymfsXvsvYIAX|&w2LMg*T"
        b"Sa$Jd&(=!;~`(=UywfJnv-YE(E4DF}NF;6kSXxOv%tmpyn^>_)TZ02;M4<IxZJ#i+rfc{FNm$D@mA)Rse|_FZ@sZ>xP3jXEBnQ77I2=NB~Us"
        b">h@Fd3E7e%Z*<G_XHlr8{lcdqxdE8T*IUI@at9nBXkUp&irN6=iLd^yRsAL&e-Y;v&em4|9rUkb?Rp7&d}%WujK)$_<VNJw_ZJd#z2ZzJ#$e"
        b"5iTAt_SQtgae)P`7r@c%8`-QNM15H_E62E~=%ah1Niws;gWGu8HbCDex+#Sfs?nLGlC-S{6B<F4~Z`$#kD{r*Jaz13F_m`Qg3?n(@pE!VgUf"
        b"?v6Lq_T#GWG_M^Abe*8(b+b7edZUNGUUi^fxr~k8|(K%&~O?i+-Tf(E$hfSrQQ9*N%q>nDxVgZ*sN@#s"
    ),
    # FFmpeg's `libsvtav1`, yuv420p10le, film-grain=20.
    "deep AVIF": (
        b"c-muNU{FXasVqn=%S>Yc0uY^>nP!-qnV9D5Xy^nK`k9+rlE?r7`WY!XMNl?FL1uCZ0}==T@=J?SJreU$a#F#n_zE&ha=~(pKrEM;lb;OYxPb"
        b"VK5K%@&AiV{MH8L~v(%@>PfSgn&C@-<hz|c8ACm(EPR%Ss_0g(32EJ)4=(ju9~1*s4RaPNR%27!XiicF9QGZz;Zkm5-!Gjwhg@Bs-4C+FuB<"
        b"t67-Fff535Qt|M<idOibQlXGQ!@*YxhFRzv4o2U$ZC4`_T3$?pAH9%7BdPkbUQR2=P__#SUmd)1LHpi1qS{PKx6(h{D`RV;NY<Es3`xwLc_!"
        b"3rlrM?7eAJ(2TkXgZf>Eje*9+HPmiDJmQg2vXl}pm9=d$__va@pj!$3ygZ&4WxyJSi(bH^N9v&4^d@n2-4m3C<I4CeoJtuJCOL=kFo`p-Uf4"
        b"MAX#Q9DA#qr3lCCB9a#V;>4)Y89vyeV0;m^b)`M6T_s-HlG7DiaI@0AL$~8~"
    ),
}


def large(name):
    """A photo of nine megapixels that is costly to decode: "HEIC", "deep HEIC" or "deep AVIF"."""
    return zlib.decompress(base64.b85decode(_LARGE[name]))

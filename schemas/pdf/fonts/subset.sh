#!/bin/sh
# Makes the font files of this folder from the unhinted Noto fonts in the folder $1 (pyftsubset of fonttools).
set -eu
base='U+0020-007E,U+00A0-0377,U+037A-0556,U+1D00-1DBF,U+1E00-1EFF,U+1F00-1FFE,U+2000-206F,U+2070-209F,U+20A0-20BF,U+2100-218B,U+2190-2199,U+2200-22FF,U+25A0-25FF,U+2C60-2C7F,U+A640-A69F,U+A720-A7FF,U+AB30-AB6F,U+FB00-FB06,U+FFFD'
options="--layout-features=kern,mark,mkmk,ccmp,locl,liga,calt,rlig,init,medi,fina,isol,cswh --no-hinting --name-IDs=*"
pyftsubset "$1/NotoSans-Regular.ttf" --unicodes="$base" $options --output-file=NotoSans-Regular.ttf
pyftsubset "$1/NotoSans-Bold.ttf" --unicodes="$base" $options --output-file=NotoSans-Bold.ttf
pyftsubset "$1/NotoSansHebrew-Regular.ttf" --unicodes='*' $options --output-file=NotoSansHebrew-Regular.ttf
pyftsubset "$1/NotoSansArabic-Regular.ttf" --unicodes='U+0020,U+00A0,U+0600-06FF,U+0750-077F,U+FE70-FEFC,U+200C-200F' $options --output-file=NotoSansArabic-Regular.ttf

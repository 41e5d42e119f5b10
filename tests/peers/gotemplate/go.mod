module prebake.invalid/peers/gotemplate

go 1.24.0

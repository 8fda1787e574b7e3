"""The planner's dashboard: server-rendered pages over the PostgreSQL tables, one `*_page` module per page.

It only sends SELECTs, as the role `m5_reader`, and binds every value. The mailed report is in `m5_assets.report`.
"""
